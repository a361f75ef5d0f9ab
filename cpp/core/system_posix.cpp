// Linux and macOS, which has no affinity of threads.
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <thread>

#include "core/system.h"

#if defined(__linux__)
#include <sched.h>
#include <sys/mman.h>
#endif

namespace fastmlp::system {

void* allocate(std::size_t alignment, std::size_t bytes, [[maybe_unused]] bool large_pages) {
  void* const memory = std::aligned_alloc(alignment, bytes);
#if defined(__linux__) && defined(MADV_HUGEPAGE)
  if (memory && large_pages) madvise(memory, bytes, MADV_HUGEPAGE);
#endif
  return memory;
}

void release(void* memory) { std::free(memory); }

void after_fork_in_child(void (*function)()) { pthread_atfork(nullptr, nullptr, function); }

#if defined(__linux__)
int allowed_processors() {
  cpu_set_t set;
  CPU_ZERO(&set);
  return sched_getaffinity(0, sizeof(set), &set) == 0 ? std::max(1, CPU_COUNT(&set)) : 1;
}

int current_processor() { return sched_getcpu(); }

void leave_processor(int processor) {
  cpu_set_t others;
  CPU_ZERO(&others);
  if (sched_getaffinity(getpid(), sizeof(others), &others) != 0) return;
  CPU_CLR(processor, &others);
  if (CPU_COUNT(&others) > 0) sched_setaffinity(0, sizeof(others), &others);
}
#else
int allowed_processors() { return std::max(1, static_cast<int>(std::thread::hardware_concurrency())); }
int current_processor() { return -1; }
void leave_processor(int) {}
#endif

void* find_symbol(const char* name) { return dlsym(RTLD_DEFAULT, name); }

void* open_library(const std::string& path, std::string* problem) {
  void* const library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!library) {
    const char* const why = dlerror();
    *problem = why ? why : path;
  }
  return library;
}

void* find_symbol(void* library, const char* name) { return dlsym(library, name); }

std::string own_folder() {
  Dl_info here{};
  if (!dladdr(reinterpret_cast<const void*>(&own_folder), &here) || !here.dli_fname) return "";
  const std::string path = here.dli_fname;
  return path.substr(0, path.rfind('/') + 1);  // all of it, or nothing before the name
}

void close_file(int file) { close(file); }

std::int64_t read_file(int file, std::int64_t offset, std::size_t bytes, void* to) {
  for (;;) {
    const auto got = pread(file, to, bytes, static_cast<off_t>(offset));
    if (got >= 0 || errno != EINTR) return got;
  }
}

void announce_read([[maybe_unused]] int file, [[maybe_unused]] std::int64_t offset,
                   [[maybe_unused]] std::size_t bytes) {
#ifdef POSIX_FADV_WILLNEED
  posix_fadvise(file, static_cast<off_t>(offset), static_cast<off_t>(bytes), POSIX_FADV_WILLNEED);
#endif
}

}  // namespace fastmlp::system
