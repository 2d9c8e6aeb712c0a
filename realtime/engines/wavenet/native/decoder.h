// What api.cpp and the instruction sets' translation units share. No inline code with a body: each unit is
// compiled for another CPU, and the linker would keep one copy of it for all.
#pragma once
#include "pair.h"
#include "wavenet.h"

struct WnDecoder {
  WnShape shape;
  int64_t bytes;
  Pair pair;
  struct WnHelper* helper;  // the second core's thread, or null
  virtual void reset(int stream) = 0;
  virtual void condition(int stream, const float* latent, int64_t stride) = 0;
  virtual void run(int count, int64_t row, const float* noise, const float* temperature, const int32_t* forced,
                   const int32_t* guide, float* audio, int32_t* classes, float* logits) = 0;
  virtual int64_t save(char* state) = 0;  // -> its bytes; null: only counts them
  virtual bool load(const char* state) = 0;
  virtual void record(float* maxima) = 0;
  virtual void assist() = 0;  // the second core's part of one block
};

// Places the decoder and everything it needs at `memory` (64-byte aligned); with null only counts the bytes.
typedef WnDecoder* (*WnPlace)(const WnShape&, const WnWeights*, const WnSteps*, char* memory, int64_t* bytes);

#define WN_PLACES(isa) \
  WnDecoder* wn_place_##isa##_fp32(const WnShape&, const WnWeights*, const WnSteps*, char*, int64_t*); \
  WnDecoder* wn_place_##isa##_int8(const WnShape&, const WnWeights*, const WnSteps*, char*, int64_t*);
WN_PLACES(plain)
WN_PLACES(avx2)
WN_PLACES(avxvnni)
WN_PLACES(avx512)
WN_PLACES(neon)
WnDecoder* wn_place_avx512_bf16(const WnShape&, const WnWeights*, const WnSteps*, char*, int64_t*);
