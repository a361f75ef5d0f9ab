// Written by tools/fit_coefficients.py, which says how: do not edit.
//
// Polynomials, lowest power first. Their errors are relative to the function that they serve.
#pragma once

#include "cpu/isa.h"

// clang-format off: as written.
namespace fastmlp::FASTMLP_ISA_NS {

template <class T>
struct Coefficients;

template <>
struct Coefficients<float> {
  static constexpr float log2e = 0x1.715476p0F;
  static constexpr float ln2_high = 0x1.62e4p-1F;
  static constexpr float ln2_low = 0x1.7f7d1cp-20F;

  // exp(r) = 1 + r + r^2 expm1_tail(r)
  // on [-0.34661, 0.34661]: error 2^-26.1
  static constexpr float expm1_tail[] = {
      0x1.fffffep-2F,
      0x1.5554b4p-3F,
      0x1.5556f6p-5F,
      0x1.122538p-7F,
      0x1.6b97a4p-10F,
  };

  // log(1 + f) = f - f^2 / 2 + f^3 log1p_tail(f)
  // on [-0.29289, 0.41421]: error 2^-30.3
  static constexpr float log1p_tail[] = {
      0x1.555548p-2F,
      -0x1.000006p-2F,
      0x1.99a476p-3F,
      -0x1.555c44p-3F,
      0x1.233ba2p-3F,
      -0x1.fc28c8p-4F,
      0x1.e6c00ap-4F,
      -0x1.de0206p-4F,
      0x1.147388p-4F,
  };

  // normal_cdf(-t) = exp(-t^2 / 2) mills(t)
  // error 2^-27.9
  static constexpr float mills_centre[8] = {0x1.76ap0F, 0x1.3a6p1F, 0x1.f74p1F, 0x1.85dp2F, 0x1.23bp3F, 0x1.a36p3F, 0x1.ce8p-3F, 0x1.87ap-1F};
  static constexpr float mills_piece[][8] = {
      {0x1.ac4e9cp-3F, 0x1.259b42p-3F, 0x1.88c264p-4F, 0x1.0591eap-4F, 0x1.625e14p-5F, 0x1.efe3a2p-6F, 0x1.af6244p-2F, 0x1.30cea8p-2F},
      {-0x1.7c843ap-4F, -0x1.7fae5p-5F, -0x1.67841ap-6F, -0x1.472284p-7F, -0x1.2ff072p-8F, -0x1.2b47bep-9F, -0x1.3718f2p-2F, -0x1.5ebe82p-3F},
      {0x1.2bc638p-5F, 0x1.d02b54p-7F, 0x1.3b1966p-8F, 0x1.902978p-10F, 0x1.01d936p-11F, 0x1.673eap-13F, 0x1.6920f4p-3F, 0x1.555538p-4F},
      {-0x1.adcddep-7F, -0x1.07228p-8F, -0x1.099d6cp-10F, -0x1.df5e14p-13F, -0x1.b0e42p-15F, -0x1.ace0d4p-17F, -0x1.686e02p-4F, -0x1.259c06p-5F},
      {0x1.1d11cap-8F, 0x1.1a10a2p-10F, 0x1.b02cecp-13F, 0x1.198004p-15F, 0x1.67ac32p-18F, 0x1.fd464cp-21F, 0x1.406d1cp-5F, 0x1.ca1468p-7F},
      {-0x1.61892cp-10F, -0x1.1f715p-12F, -0x1.53e874p-15F, -0x1.44d13ap-18F, -0x1.26f338p-21F, -0x1.2c65d2p-24F, -0x1.030f6ep-6F, -0x1.480a3p-8F},
      {0x1.9e707p-12F, 0x1.18eaf2p-14F, 0x1.05715ep-17F, 0x1.6f9c0cp-21F, 0x1.de1f4cp-25F, 0x1.603a2ep-28F, 0x1.83a8dcp-8F, 0x1.bfbe36p-10F},
      {-0x1.e85fccp-14F, -0x1.1a14ecp-16F, -0x1.9c91b8p-20F, -0x1.961114p-24F, -0x1.a8aa72p-28F, -0x1.b5e0fp-32F, -0x1.2db338p-9F, -0x1.91b3aep-11F},
      {0x1.07305p-15F, 0x1.08807p-18F, 0x1.0bdecap-22F, 0x1.fb5b2cp-27F, 0x1.6dbc6cp-31F, 0x1.0961bcp-35F, 0x1.fc0746p-11F, -0x1.c18078p-14F},
  };
};

template <>
struct Coefficients<double> {
  static constexpr double log2e = 0x1.71547652b82fep0;
  static constexpr double ln2_high = 0x1.62e42fefa38p-1;
  static constexpr double ln2_low = 0x1.ef35793c7673p-45;

  // exp(r) = 1 + r + r^2 expm1_tail(r)
  // on [-0.34661, 0.34661]: error 2^-61.6
  static constexpr double expm1_tail[] = {
      0x1p-1,
      0x1.5555555555559p-3,
      0x1.5555555555559p-5,
      0x1.111111110f70bp-7,
      0x1.6c16c16c1686ap-10,
      0x1.a01a01af9bd03p-13,
      0x1.a01a019e274dbp-16,
      0x1.71ddf93a5eb2p-19,
      0x1.27e4f930db06bp-22,
      0x1.af5d03460c03dp-26,
      0x1.1f380e197d181p-29,
  };

  // log((1 + s) / (1 - s)) = 2 s + s^3 log_ratio_tail(s^2)
  // on [0, 0.02945]: error 2^-59.5
  static constexpr double log_ratio_tail[] = {
      0x1.5555555555593p-1,
      0x1.999999997f9f8p-2,
      0x1.249249422a47cp-2,
      0x1.c71c51d7cc29p-3,
      0x1.746649b05d56fp-3,
      0x1.39a095717542cp-3,
      0x1.2f11809d553bdp-3,
  };

  // normal_cdf(-t) = exp(-t^2 / 2) mills(t)
  // v = (t - mills_centre) / (t + mills_centre), 0 <= t < 39
  static constexpr double mills_centre = 5, mills_shift = 1.25;
  // on [-1, 0.77273]: error 2^-54.5
  static constexpr double mills[] = {
      0x1.ec4896da77b19p-2,
      -0x1.04f3080b418b7p-3,
      0x1.ebe8e26b6748ap-5,
      -0x1.4ed7f8c39c149p-7,
      -0x1.d9140d6f9f60dp-7,
      0x1.321c3a9d6ae33p-6,
      -0x1.a77265b088983p-7,
      0x1.84736ae0584bfp-8,
      -0x1.a8fbdd8450d95p-10,
      0x1.5af5b496e5199p-15,
      0x1.5eb3aeb58bd15p-13,
      -0x1.bfad5d6ca09eap-15,
      -0x1.14600174eba1cp-17,
      0x1.2555e90bdc742p-17,
      -0x1.f8d0a34005e9bp-23,
      -0x1.4e4eb60a0d7fbp-20,
      0x1.2e57ad8c5f8e6p-23,
      0x1.8a85c401da97dp-23,
      -0x1.8a742ea51067ap-26,
      -0x1.c268d769d209p-26,
      0x1.00e966f887693p-30,
      0x1.36a0c22e2c1a4p-29,
      0x1.5dbb7a99c6e9cp-32,
      0x1.6ac879f3af9b1p-34,
  };
};

}  // namespace fastmlp::FASTMLP_ISA_NS
