// The sizes of the caches: as Linux tells them in sysfs, else as the system's library knows them, else of a modest processor.
#include <fstream>
#include <string>

#include "cpu/processor.h"

#if defined(__APPLE__)
#include <sys/sysctl.h>
#elif !defined(_WIN32)
#include <unistd.h>
#endif

namespace fastmlp::processor {

namespace {

// "48K" or "1M" in bytes; 0: not a size.
long parse_size(const std::string& text) {
  std::size_t end = 0;
  long size = 0;
  try {
    size = std::stol(text, &end);
  } catch (const std::exception&) {
    return 0;
  }
  if (end < text.size() && text[end] == 'K') size <<= 10;
  if (end < text.size() && text[end] == 'M') size <<= 20;
  return size;
}

std::string first_line(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

void read_sysfs(Caches& caches) {
  for (int index = 0; index < 8; ++index) {
    const std::string folder = "/sys/devices/system/cpu/cpu0/cache/index" + std::to_string(index) + "/";
    const std::string level = first_line(folder + "level");
    if (level.empty()) return;
    if (first_line(folder + "type") == "Instruction") continue;
    const long size = parse_size(first_line(folder + "size"));
    if (level == "1") caches.l1 = size;
    if (level == "2") caches.l2 = size;
  }
}

#if defined(__APPLE__)
long of_system(const char* name) {
  long size = 0;
  std::size_t bytes = sizeof(size);
  return sysctlbyname(name, &size, &bytes, nullptr, 0) == 0 ? size : 0;
}
#endif

Caches find_caches() {
  Caches caches{0, 0};
  read_sysfs(caches);
#if defined(__APPLE__)
  caches.l1 = of_system("hw.l1dcachesize");
  caches.l2 = of_system("hw.l2cachesize");
#elif defined(_SC_LEVEL1_DCACHE_SIZE)
  if (caches.l1 <= 0) caches.l1 = sysconf(_SC_LEVEL1_DCACHE_SIZE);
  if (caches.l2 <= 0) caches.l2 = sysconf(_SC_LEVEL2_CACHE_SIZE);
#endif
  const auto sane = [](long size, long least, long most, long otherwise) {
    return size < least || size > most ? otherwise : size;
  };
  caches.l1 = sane(caches.l1, 16L << 10, 1L << 20, 32L << 10);
  caches.l2 = sane(caches.l2, 128L << 10, 64L << 20, 512L << 10);
  return caches;
}

}  // namespace

const Caches& caches() {
  static const Caches found = find_caches();
  return found;
}

}  // namespace fastmlp::processor
