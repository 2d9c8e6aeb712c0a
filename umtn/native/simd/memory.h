// One zeroed piece of memory for a kernel and all it needs.
#pragma once
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if defined(_WIN32)
#include <malloc.h>
#endif
#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace {

constexpr int64_t PAGE = 2 << 20;  // huge pages: megabytes of weights are walked through in every call

inline void* allocate(int64_t bytes) {
  bytes = (bytes + PAGE - 1) / PAGE * PAGE + 8192;  // prefetching runs a little ahead
#if defined(_WIN32)
  void* p = _aligned_malloc((size_t)bytes, 4096);
#else
  void* p = nullptr;
  if (posix_memalign(&p, PAGE, (size_t)bytes)) return nullptr;
#if defined(__linux__)
  madvise(p, (size_t)bytes, MADV_HUGEPAGE);
#endif
#endif
  if (p) memset(p, 0, (size_t)bytes);
  return p;
}

inline void release(void* p) {
#if defined(_WIN32)
  _aligned_free(p);
#else
  free(p);
#endif
}

}  // namespace
