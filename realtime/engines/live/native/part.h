// What api.cpp and the instruction sets' translation units share. No inline code with a body: each unit is
// compiled for another CPU, and the linker would keep one copy of it for all.
#pragma once
#include "live.h"

// Everything a part remembers lies in its state, which begins as zeros and holds no pointers: it may be copied.
struct LivePart {
  char* state;
  int64_t bytes, state_bytes;
  virtual void run(int frames, const float* in, const float* noise, float* out) = 0;
};

// Places a part and everything it needs at `memory` (64-byte aligned, zeroed); with null only counts the bytes.
typedef LivePart* (*LivePlaceEncoder)(const LiveEncoderShape&, const LiveEncoderWeights&, char*, int64_t*);
typedef LivePart* (*LivePlaceDecoder)(const LiveDecoderShape&, const LiveDecoderWeights&, char*, int64_t*);
typedef LivePart* (*LivePlaceMouth)(const LiveMouthShape&, const LiveMouthWeights&, char*, int64_t*);

#define LIVE_PLACES(isa) \
  LivePart* live_encoder_##isa(const LiveEncoderShape&, const LiveEncoderWeights&, char*, int64_t*); \
  LivePart* live_decoder_##isa(const LiveDecoderShape&, const LiveDecoderWeights&, char*, int64_t*); \
  LivePart* live_mouth_##isa(const LiveMouthShape&, const LiveMouthWeights&, char*, int64_t*);
LIVE_PLACES(plain)
LIVE_PLACES(avx2)
LIVE_PLACES(avx512)
LIVE_PLACES(neon)
