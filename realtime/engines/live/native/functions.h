// exp, log, sigmoid, tanh, sine and cosine of vectors, within about 1e-7. What is not a number stays so.
#pragma once
#include "simd.h"

namespace {

// e to the x for x <= 88, 1e-38 below -87: 2^n e^f with |f| <= ln(2) / 2, f in two steps (Cody and Waite 1980).
template <class S>
SIMD_INLINE typename S::F exponential(typename S::F x) {
  typedef typename S::F F;
  x = S::at_least(x, S::set1(-87.0f));
  F n = S::round(S::mul(x, S::set1(1.44269504f)));
  F f = S::fma(n, S::set1(-0.693359375f), x);
  f = S::fma(n, S::set1(2.12194440e-4f), f);
  F p = S::fma(f, S::set1(1.9875691500e-4f), S::set1(1.3981999507e-3f));
  p = S::fma(f, p, S::set1(8.3334519073e-3f));
  p = S::fma(f, p, S::set1(4.1665795894e-2f));
  p = S::fma(f, p, S::set1(1.6666665459e-1f));
  p = S::fma(f, p, S::set1(5.0000001201e-1f));
  return S::power(S::add(S::fma(S::mul(f, f), p, f), S::set1(1.0f)), n);
}

// ln x for normal x > 0: e ln(2) + 2 artanh((m - 1) / (m + 1)) with m near 1.
template <class S>
SIMD_INLINE typename S::F logarithm(typename S::F x) {
  typedef typename S::F F;
  const F one = S::set1(1.0f);
  F m = S::mantissa(x);
  const F upper = S::round(S::sub(m, S::set1(0.92f)));  // 1 where m > 1.42
  const F e = S::add(S::exponent(x), upper);
  m = S::mul(m, S::fma(upper, S::set1(-0.5f), one));
  const F s = S::div(S::sub(m, one), S::add(m, one)), t = S::mul(s, s);
  F p = S::fma(t, S::set1(1.0f / 11), S::set1(1.0f / 9));
  p = S::fma(t, p, S::set1(1.0f / 7));
  p = S::fma(t, p, S::set1(0.2f));
  p = S::fma(t, p, S::set1(1.0f / 3));
  F y = S::mul(S::add(s, s), S::fma(t, p, one));
  y = S::fma(e, S::set1(-2.12194440e-4f), y);
  y = S::fma(e, S::set1(0.693359375f), y);
  return S::fma(x, S::zero(), y);
}

template <class S>
SIMD_INLINE typename S::F sigmoid(typename S::F x) {
  const typename S::F one = S::set1(1.0f);
  x = S::at_least(S::at_most(x, S::set1(80.0f)), S::set1(-80.0f));
  return S::div(one, S::add(one, exponential<S>(S::sub(S::zero(), x))));
}

template <class S>
SIMD_INLINE typename S::F hyperbolic_tangent(typename S::F x) {
  const typename S::F one = S::set1(1.0f);
  x = S::at_least(S::at_most(x, S::set1(15.0f)), S::set1(-15.0f));
  return S::sub(one, S::div(S::set1(2.0f), S::add(one, exponential<S>(S::add(x, x)))));
}

template <class S>
struct Turn {
  typename S::F cosine, sine;
};

// Cosine and sine of 0 <= x <= 2 pi: |f| <= pi / 4 after q quarter turns, which only swap and negate.
template <class S>
SIMD_INLINE Turn<S> turn(typename S::F x) {
  typedef typename S::F F;
  const F one = S::set1(1.0f);
  const F q = S::round(S::mul(x, S::set1(0.636619772f)));
  F f = S::fma(q, S::set1(-1.5703125f), x);
  f = S::fma(q, S::set1(-4.837512969970703125e-4f), f);
  f = S::fma(q, S::set1(-7.549789948768648e-8f), f);
  const F z = S::mul(f, f);
  F s = S::fma(z, S::set1(-1.9515295891e-4f), S::set1(8.3321608736e-3f));
  s = S::fma(z, s, S::set1(-1.6666654611e-1f));
  s = S::fma(S::mul(z, f), s, f);
  F c = S::fma(z, S::set1(2.443315711809948e-5f), S::set1(-1.388731625493765e-3f));
  c = S::fma(z, c, S::set1(4.166664568298827e-2f));
  c = S::fma(S::mul(z, z), c, S::fma(z, S::set1(-0.5f), one));
  const F half = S::round(S::fma(q, S::set1(0.5f), S::set1(-0.25f)));  // floor(q / 2)
  const F odd = S::fma(half, S::set1(-2.0f), q), even = S::sub(one, odd);
  const F quarter = S::round(S::fma(half, S::set1(0.5f), S::set1(-0.25f)));
  const F sign = S::fma(S::fma(quarter, S::set1(-2.0f), half), S::set1(-2.0f), one);
  return {S::mul(sign, S::sub(S::mul(even, c), S::mul(odd, s))), S::mul(sign, S::fma(odd, c, S::mul(even, s)))};
}

}  // namespace
