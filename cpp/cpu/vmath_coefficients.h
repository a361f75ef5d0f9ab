// Written by tools/fit_coefficients.py, which says how: do not edit.
//
// Polynomials, lowest power first. Their errors are relative to the function that they serve.
#pragma once

#include "cpu/isa.h"

namespace fastmlp::FASTMLP_ISA_NS {

template <class T>
struct Coefficients;

template <>
struct Coefficients<float> {
  static constexpr float log2e = 0x1.715476p0F;
  static constexpr float ln2 = 0x1.62e43p-1F;
  static constexpr float ln2_high = 0x1.62e4p-1F;
  static constexpr float ln2_low = 0x1.7f7d1cp-20F;
  static constexpr float mills_centre = 4.5;

  // expm1_tail on [-0.34661, 0.34661]: error 2^-26.1
  static constexpr float expm1_tail[] = {
      0x1.fffffep-2F,
      0x1.5554aap-3F,
      0x1.55579ep-5F,
      0x1.122c7ap-7F,
      0x1.6ab2a2p-10F,
  };

  // log1p_tail on [-0.29289, 0.41421]: error 2^-29.4
  static constexpr float log1p_tail[] = {
      0x1.555548p-2F,
      -0x1.ffff4ep-3F,
      0x1.99a2dep-3F,
      -0x1.557ae6p-3F,
      0x1.237d64p-3F,
      -0x1.f925fp-4F,
      0x1.e02a1p-4F,
      -0x1.e9b77ap-4F,
      0x1.2e9e7p-4F,
  };

  // mills on [0.23684, 1]: error 2^-26.4
  static constexpr float mills[] = {
      0x1.6af52ep-4F,
      0x1.6ea68cp-4F,
      0x1.391a4cp-4F,
      0x1.dc5074p-4F,
      -0x1.217a18p-4F,
      0x1.56d4d4p-2F,
      -0x1.791e16p-2F,
      0x1.779f66p-2F,
      -0x1.401bbap-3F,
      0x1.754a02p-6F,
  };
};

template <>
struct Coefficients<double> {
  static constexpr double log2e = 0x1.71547652b82fep0;
  static constexpr double ln2 = 0x1.62e42fefa39efp-1;
  static constexpr double ln2_high = 0x1.62e42fefa38p-1;
  static constexpr double ln2_low = 0x1.ef35793c7673p-45;
  static constexpr double mills_centre = 5.5;

  // expm1_tail on [-0.34661, 0.34661]: error 2^-55.7
  static constexpr double expm1_tail[] = {
      0x1p-1,
      0x1.5555555555559p-3,
      0x1.5555555555559p-5,
      0x1.111111110f70cp-7,
      0x1.6c16c16c16878p-10,
      0x1.a01a01af9b5p-13,
      0x1.a01a019e20dd6p-16,
      0x1.71ddedef42af3p-19,
      0x1.27e4cc5b0f128p-22,
      0x1.af8f207907ef8p-26,
      0x1.1fff160f67a93p-29,
  };

  // log_ratio_tail on [0, 0.02945]: error 2^-59.3
  static constexpr double log_ratio_tail[] = {
      0x1.555555555557cp-1,
      0x1.9999999985704p-2,
      0x1.2492493de63dep-2,
      0x1.c71c54dbc94b7p-3,
      0x1.7465bbac7fc44p-3,
      0x1.39adaf80c5a2ap-3,
      0x1.2e96dce332612p-3,
  };

  // mills on [0.1236, 1]: error 2^-52.5
  static constexpr double mills[] = {
      0x1.291a6b182e4e7p-4,
      0x1.291a6a669df3bp-4,
      0x1.1f482a1de706bp-4,
      0x1.0ba22bb0802dap-4,
      0x1.de6948a2e18fcp-5,
      0x1.96850abcadbe1p-5,
      0x1.4ef23d2db34bbp-5,
      0x1.ad7957fb6e75cp-6,
      0x1.2f4d81081e979p-5,
      -0x1.3a3a88348f617p-5,
      0x1.1a8dcf30b59b8p-3,
      -0x1.110208c82a83ep-2,
      0x1.c2c28eef3a3dp-2,
      -0x1.23ede935ecdb4p-1,
      0x1.24348925cb636p-1,
      -0x1.bc5f0cfec93c1p-2,
      0x1.e4aa0d2d0e282p-3,
      -0x1.5f2bb215f6fd5p-4,
      0x1.2d0f70caf1e48p-6,
      -0x1.ce833d34cd16fp-10,
  };
};

}  // namespace fastmlp::FASTMLP_ISA_NS
