// The thread on the second core.
#pragma once
#include "decoder.h"

// 1 where the thread was started; cpu < 0: wherever the system puts it.
int wn_helper_start(WnDecoder* decoder, int cpu);
void wn_helper_stop(WnDecoder* decoder);
void wn_helper_enter(WnDecoder* decoder);
void wn_helper_leave(WnDecoder* decoder);
