// Windows, whose processes do not fork, and whose masks of processors have 64 of them.
#include <windows.h>
// After it:
#include <malloc.h>

#include <algorithm>
#include <bit>
#include <cerrno>

#include "core/system.h"

namespace fastmlp::system {

namespace {

DWORD_PTR processors_of_process() {
  DWORD_PTR own = 0, all = 0;
  return GetProcessAffinityMask(GetCurrentProcess(), &own, &all) ? own : 0;
}

}  // namespace

void* allocate(std::size_t alignment, std::size_t bytes, bool) { return _aligned_malloc(bytes, alignment); }
void release(void* memory) { _aligned_free(memory); }

void after_fork_in_child(void (*)()) {}

int allowed_processors() {
  return std::max(1, std::popcount(static_cast<unsigned long long>(processors_of_process())));
}

int current_processor() {
  const DWORD processor = GetCurrentProcessorNumber();
  return processor < 64 ? static_cast<int>(processor) : -1;
}

void leave_processor(int processor) {
  const DWORD_PTR others = processors_of_process() & ~(DWORD_PTR{1} << processor);
  if (others != 0) SetThreadAffinityMask(GetCurrentThread(), others);
}

void sleep_while(const void* variable, const void* value, std::size_t size) {
  WaitOnAddress(const_cast<void*>(variable), const_cast<void*>(value), size, INFINITE);
}
void wake_one(void* variable) { WakeByAddressSingle(variable); }
void wake_all(void* variable) { WakeByAddressAll(variable); }

void* find_symbol(const char*) { return nullptr; }

void* open_library(const std::string& path, std::string* problem) {
  void* const library = LoadLibraryA(path.c_str());
  if (!library) *problem = path + ": error " + std::to_string(GetLastError());
  return library;
}

void* find_symbol(void* library, const char* name) {
  return reinterpret_cast<void*>(GetProcAddress(static_cast<HMODULE>(library), name));
}

std::string own_folder() {
  HMODULE module = nullptr;
  constexpr DWORD kOfAddress = GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS | GET_MODULE_HANDLE_EX_FLAG_UNCHANGED_REFCOUNT;
  if (!GetModuleHandleExA(kOfAddress, reinterpret_cast<LPCSTR>(&own_folder), &module)) return "";
  char path[MAX_PATH];
  const DWORD length = GetModuleFileNameA(module, path, MAX_PATH);
  const std::string whole(path, length);
  return length == 0 || length == MAX_PATH ? "" : whole.substr(0, whole.find_last_of("\\/") + 1);
}

void close_file(int) {}
std::int64_t read_file(int, std::int64_t, std::size_t, void*) {
  errno = ENOSYS;
  return -1;
}
void announce_read(int, std::int64_t, std::size_t) {}

}  // namespace fastmlp::system
