// For prediction, a normalisation by running statistics becomes a part of the affine operation before or behind it: it is a
// scale and a shift of each column, and so is an affine operation's weight and bias.
#pragma once

#include "core/program.h"

namespace fastmlp {

// Whether something can fold, if the statistics allow it.
template <class T>
bool can_fold(const Program<T>& program);

// The operations of evaluation mode, with parameters of their own. On the host.
template <class T>
std::vector<Operation<T>> folded(const Program<T>& program);

}  // namespace fastmlp
