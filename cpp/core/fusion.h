// What several operations of a program do in one kernel: an activation runs in the epilogue of the affine operation whose
// output nobody else takes.
#pragma once

#include "core/program.h"

namespace fastmlp {

// With the number of the previous value in place of kPrevious. Throws std::invalid_argument for a value that is not
// there yet.
template <class T>
std::vector<Operation<T>> numbered(std::vector<Operation<T>> operations);

// How many operations take each value.
template <class T>
std::vector<int> uses_of(const std::vector<Operation<T>>& operations);

// Fewer operations that make the same output.
template <class T>
std::vector<Operation<T>> fused(const std::vector<Operation<T>>& operations);

}  // namespace fastmlp
