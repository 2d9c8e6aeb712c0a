// One thread per decoder that is given a second core. Between blocks it sleeps.
#include "helper.h"

#include "denormals.h"

#if defined(WN_PAIRS) && !defined(_WIN32)
#include <pthread.h>
#include <stdlib.h>

struct WnHelper {
  pthread_t thread;
  pthread_mutex_t lock;
  pthread_cond_t called;
  bool wanted, quit;
};

static void* work(void* p) {
  NoDenormals guard;
  WnDecoder* decoder = (WnDecoder*)p;
  WnHelper* h = decoder->helper;
  for (;;) {
    pthread_mutex_lock(&h->lock);
    while (!h->wanted && !h->quit) pthread_cond_wait(&h->called, &h->lock);
    const bool quit = h->quit;
    h->wanted = false;
    pthread_mutex_unlock(&h->lock);
    if (quit) return nullptr;
    decoder->assist();
  }
}

int wn_helper_start(WnDecoder* decoder, int cpu) {
  if (decoder->helper) return 1;
  WnHelper* h = (WnHelper*)calloc(1, sizeof(WnHelper));
  if (!h) return 0;
  pthread_mutex_init(&h->lock, nullptr);
  pthread_cond_init(&h->called, nullptr);
  decoder->pair.step = decoder->shape.layers + 1;
  decoder->helper = h;
  if (pthread_create(&h->thread, nullptr, work, decoder)) {
    decoder->helper = nullptr;
    free(h);
    return 0;
  }
#if defined(__linux__)
  if (cpu >= 0 && cpu < CPU_SETSIZE) {
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    pthread_setaffinity_np(h->thread, sizeof one, &one);
  }
#else
  (void)cpu;
#endif
  return 1;
}

static void call(WnHelper* h, bool quit) {
  pthread_mutex_lock(&h->lock);
  h->wanted = true;
  h->quit = quit;
  pthread_cond_signal(&h->called);
  pthread_mutex_unlock(&h->lock);
}

void wn_helper_stop(WnDecoder* decoder) {
  WnHelper* h = decoder->helper;
  if (!h) return;
  call(h, true);
  pthread_join(h->thread, nullptr);
  pthread_cond_destroy(&h->called);
  pthread_mutex_destroy(&h->lock);
  decoder->helper = nullptr;
  free(h);
}

void wn_helper_enter(WnDecoder* decoder) {
  if (decoder->helper && decoder->pair.enter()) call(decoder->helper, false);
}

void wn_helper_leave(WnDecoder* decoder) {
  if (decoder->helper) decoder->pair.leave();
}

#else

int wn_helper_start(WnDecoder*, int) { return 0; }
void wn_helper_stop(WnDecoder*) {}
void wn_helper_enter(WnDecoder*) {}
void wn_helper_leave(WnDecoder*) {}

#endif
