// What this CPU, and the operating system that saves its registers, can run.
#pragma once
bool wn_cpu_avx2();
bool wn_cpu_avxvnni();
bool wn_cpu_avx512vnni();
bool wn_cpu_avx512bf16();
bool wn_cpu_neon_dot();
