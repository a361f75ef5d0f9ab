// Claims of a test program: those that fail are printed and counted, and decide about its exit status.
#pragma once

#include <atomic>
#include <cstdio>
#include <string>

namespace fastmlp::testing {

inline std::atomic<int> failures = 0;

inline void expect(bool fine, const std::string& what) {
  if (fine) return;
  std::printf("FAILED %s\n", what.c_str());
  ++failures;
}
// The same without a string of its own, for claims in loops.
inline void expect(bool fine, const char* what) {
  if (!fine) expect(false, std::string(what));
}

// Of what a device returns: null where all went well.
inline void expect_done(const char* problem) {
  if (problem) expect(false, problem);
}

// Says how it ended; what main is to return.
inline int report() {
  if (failures == 0)
    std::puts("all is well");
  else
    std::printf("%d failures\n", failures.load());
  return failures == 0 ? 0 : 1;
}

}  // namespace fastmlp::testing
