// What the core asks of the operating system: everything of one system alone is in system_posix.cpp, system_windows.cpp.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>

namespace fastmlp::system {

// Memory for `bytes`, a multiple of `alignment`, which is a power of two; null where there is not enough. Large pages are
// asked for where that helps, and may be refused.
void* allocate(std::size_t alignment, std::size_t bytes, bool large_pages);
void release(void* memory);

// To be called in each child after a fork; nothing where processes cannot fork.
void after_fork_in_child(void (*function)());

// How many processors the process may run on; at least 1.
int allowed_processors();
// The number of the one that the calling thread is on; -1 where nobody knows.
int current_processor();
// Keeps the calling thread from a processor from now on, if the process may use any other.
void leave_processor(int processor);

// A function or variable of any library that the process has loaded; null where there is none, or no way to ask.
void* find_symbol(const char* name);

// A library opened for the rest of the process; null where that fails: then *problem says why.
void* open_library(const std::string& path, std::string* problem);
void* find_symbol(void* library, const char* name);
// The folder of the file that has this code, with the separator behind it; "" where nobody knows.
std::string own_folder();

// Files by their descriptors, which Python hands over where it has `os.pread` (not on Windows: there these fail).
void close_file(int file);
// How many bytes were read from this place on; 0 at the end, below 0 with `errno` after an error.
std::int64_t read_file(int file, std::int64_t offset, std::size_t bytes, void* to);
// That this part will be read soon.
void announce_read(int file, std::int64_t offset, std::size_t bytes);

// Sleeps while the variable has this value, or shorter; and wakes those who sleep so.
#if defined(_WIN32)
// GCC's library, whose std::atomic has no help of the system there, may miss a wake-up.
void sleep_while(const void* variable, const void* value, std::size_t size);
void wake_one(void* variable);
void wake_all(void* variable);
template <class Value>
void sleep_while(const std::atomic<Value>& variable, Value value) {
  static_assert(sizeof(variable) == sizeof(value));
  sleep_while(&variable, &value, sizeof(value));
}
template <class Value>
void wake_one(std::atomic<Value>& variable) {
  wake_one(static_cast<void*>(&variable));
}
template <class Value>
void wake_all(std::atomic<Value>& variable) {
  wake_all(static_cast<void*>(&variable));
}
#else
template <class Value>
void sleep_while(const std::atomic<Value>& variable, Value value) {
  variable.wait(value, std::memory_order_acquire);
}
template <class Value>
void wake_one(std::atomic<Value>& variable) {
  variable.notify_one();
}
template <class Value>
void wake_all(std::atomic<Value>& variable) {
  variable.notify_all();
}
#endif

}  // namespace fastmlp::system
