// Hands out aligned pieces of one block of memory; with a null base it only counts them.
#pragma once
#include <stdint.h>

namespace {

struct Arena {
  char* base;
  int64_t used;
  template <class T>
  T* take(int64_t n) {
    used = (used + 63) / 64 * 64;
    T* p = base ? (T*)(base + used) : nullptr;
    used += n * (int64_t)sizeof(T);
    return p;
  }
};

}  // namespace
