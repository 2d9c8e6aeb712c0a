// One teacher-forced pass of a WaveNet: loss and all gradients, by matrix products in bfloat16.
// Legend: N samples of a clip, L layers, R residual, S skip, A classes, T frames of `hop` samples.
#pragma once
#include <cstdint>

struct TeacherPass {
    // sizes; R, S, A and hop are multiples of 32, N of hop
    int32_t clips, samples, hop, layers, residual, skip, classes;
    int32_t first;              // samples before it carry no loss: what only their loss needs is left out
    const int32_t* dilations;   // [L]
    const int32_t* past;        // [clips, N] the class before each sample
    const int32_t* guide;       // [clips, N] the guide's class at each sample; null without a guide
    const int32_t* target;      // [clips, N]
    const float* weight;        // [clips, T] of a sample's loss in each frame
    const float* condition;     // [clips, T, L * 2 R + S]
    // parameters, as PyTorch keeps them: [out, in]
    const float *embed;         // [A, R], with a guide [2 A, R]
    const float *before, *now;  // [L, 2 R, R] the two taps; gates first, then values
    const float *skip_w;        // [L, S, R]
    const float *skip_b;        // [S] of all layers together
    const float *after_w, *after_b;  // [L - 1, R, R], [L - 1, R]
    const float *head_w, *head_b;    // [S, S], [S]
    const float *class_w, *class_b;  // [A, S], [A]
    // what comes out; gradients like what they belong to, and added to what is there
    double* loss;
    float *d_condition, *d_embed, *d_before, *d_now, *d_skip_w, *d_skip_b, *d_after_w, *d_after_b;
    float *d_head_w, *d_head_b, *d_class_w, *d_class_b;
};

// 0, or 1 when memory is short
namespace amx { int pass(const TeacherPass&); }
namespace bf16 { int pass(const TeacherPass&); }
