// What this CPU, and the operating system that saves its registers, can run.
#pragma once

#if defined(__x86_64__) || defined(_M_X64)
#define CPU_X86
#elif defined(__aarch64__)
#define CPU_ARM
#endif

bool cpu_avx2();
bool cpu_avxvnni();
bool cpu_avx512();
bool cpu_avx512vnni();
bool cpu_avx512bf16();
bool cpu_neon_dot();
