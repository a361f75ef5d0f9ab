#include "core/processors.h"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <sstream>

#include "core/system.h"

namespace fastmlp {

namespace {

// Smaller than before, unless one of the two says that there is no limit.
double tighter(double quota, double other) { return quota <= 0 ? other : other <= 0 ? quota : std::min(quota, other); }

double quota_v2(const std::string& folder) {
  std::ifstream file(folder + "/cpu.max");  // "max 100000" or "150000 100000"
  double limit = 0, period = 0;
  return file >> limit >> period && limit > 0 && period > 0 ? limit / period : 0;
}

double quota_v1(const std::string& folder) {
  double limit = 0, period = 0;
  const bool known = std::ifstream(folder + "/cpu.cfs_quota_us") >> limit &&  // -1: none
                     std::ifstream(folder + "/cpu.cfs_period_us") >> period;
  return known && limit > 0 && period > 0 ? limit / period : 0;
}

// The tightest quota of a group and those above it, up to the root.
double quota_along(const std::string& root, std::string path, double (*quota)(const std::string&)) {
  double tightest = quota(root);
  while (!path.empty() && path != "/") {
    tightest = tighter(tightest, quota(root + path));
    path.resize(path.find_last_of('/') == std::string::npos ? 0 : path.find_last_of('/'));
  }
  return tightest;
}

}  // namespace

int cgroup_processors(const std::string& process, const std::string& groups) {
  std::ifstream file(process + "/self/cgroup");
  double tightest = 0;
  for (std::string line; std::getline(file, line);) {  // "number:controllers:path"; version 2 has no controllers
    std::istringstream fields(line);
    std::string number, controllers, path;
    std::getline(fields, number, ':');
    std::getline(fields, controllers, ':');
    std::getline(fields, path);
    if (controllers.empty()) {
      tightest = tighter(tightest, quota_along(groups, path, quota_v2));
      tightest = tighter(tightest, quota_along(groups + "/unified", path, quota_v2));
    } else if (("," + controllers + ",").find(",cpu,") != std::string::npos) {
      for (const std::string& mount : {groups + "/cpu", groups + "/" + controllers})
        tightest = tighter(tightest, quota_along(mount, path, quota_v1));
    }
  }
  return tightest > 0 ? std::max(1, static_cast<int>(std::ceil(std::min(tightest, 1e6)))) : 0;
}

int usable_processors() {
  int processors = system::allowed_processors();
  if (const int quota = cgroup_processors(); quota > 0) processors = std::min(processors, quota);
  return processors;
}

}  // namespace fastmlp
