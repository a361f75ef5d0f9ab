// How many processors this process may use: its affinity, and the CPU quota of its control group.
#pragma once

#include <string>

namespace fastmlp {

// The quota of the control groups (versions 1 and 2) that `process/self/cgroup` names, in whole processors, rounded up;
// 0: none. Folders are arguments for the sake of tests.
int cgroup_processors(const std::string& process = "/proc", const std::string& groups = "/sys/fs/cgroup");

// At least 1.
int usable_processors();

}  // namespace fastmlp
