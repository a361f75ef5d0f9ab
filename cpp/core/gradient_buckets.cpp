#include "core/gradient_buckets.h"

#include <algorithm>

namespace fastmlp {

template <class T>
GradientBuckets<T>::GradientBuckets(const Program<T>& program, Exchange& exchange, Index bytes)
    : program_(program), exchange_(exchange), most_(std::max<Index>(1, bytes / static_cast<Index>(sizeof(T)))) {}

template <class T>
void GradientBuckets<T>::copy(T* to, const T* from, Index size) const {
  check(program_.device().copy(to, from, static_cast<std::size_t>(size) * sizeof(T), StreamScope::current()));
}

template <class T>
void GradientBuckets<T>::lay_out() {
  parts_.clear();
  buckets_.clear();
  const auto& operations = program_.operations();
  const auto add = [&](const std::shared_ptr<Parameter<T>>& parameter) {
    if (!parameter || !parameter->requires_grad) return;
    const auto found = std::ranges::find(parts_, parameter, &Part::parameter);
    Part& part = found == parts_.end() ? parts_.emplace_back(Part{parameter}) : *found;
    ++part.uses;
  };
  for (auto operation = operations.rbegin(); operation != operations.rend(); ++operation) {
    add(operation->weight);
    if (operation->bias != operation->weight) add(operation->bias);
  }
  // A bucket is sent when the last of its parts is complete, and after those before it: small parts, whose bucket is open for
  // long, hold no large one up.
  std::vector<std::size_t> small;
  Index size = 0;
  const auto close = [&] {
    if (small.empty()) return;
    OwnBucket& bucket = buckets_.emplace_back();
    for (const std::size_t i : small) {
      parts_[i].bucket = buckets_.size() - 1;
      parts_[i].offset = bucket.size;
      bucket.size += parts_[i].parameter->size();
      ++bucket.parts;
    }
    small.clear();
    size = 0;
  };
  for (std::size_t i = 0; i < parts_.size(); ++i) {
    const Index own = parts_[i].parameter->size();
    if (own * 4 >= most_) {
      parts_[i].bucket = buckets_.size();
      buckets_.emplace_back(OwnBucket{own, 1, 0, Buffer<T>(program_.device())});
      continue;
    }
    if (size + own > most_) close();
    small.push_back(i);
    size += own;
  }
  close();

  std::vector<Bucket> planned;
  for (OwnBucket& bucket : buckets_)
    if (bucket.parts > 1) bucket.copies = Buffer<T>(static_cast<std::size_t>(bucket.size), program_.device());
  for (std::size_t s = 0; s < buckets_.size(); ++s) {
    T* values = buckets_[s].copies.data();
    if (buckets_[s].parts == 1) values = std::ranges::find(parts_, s, &Part::bucket)->parameter->grad_memory();
    planned.push_back({values, buckets_[s].size});
  }
  if (planned != planned_) exchange_.plan(planned);
  planned_ = std::move(planned);
}

template <class T>
void GradientBuckets<T>::begin() {
  sent_ = 0;
  for (Part& part : parts_) part.waits_for = part.uses;
  for (OwnBucket& bucket : buckets_) bucket.waits_for = bucket.parts;
}

template <class T>
void GradientBuckets<T>::after(const Operation<T>& operation) {
  for (Part& part : parts_)
    if (part.parameter == operation.weight || part.parameter == operation.bias)
      if (part.waits_for > 0 && --part.waits_for == 0) complete(part);
  send_complete();
}

template <class T>
void GradientBuckets<T>::complete(Part& part) {
  OwnBucket& bucket = buckets_[part.bucket];
  Parameter<T>& parameter = *part.parameter;
  if (!parameter.has_grad) {
    const Buffer<T> zeros(static_cast<std::size_t>(parameter.size()), program_.device());
    copy(parameter.grad_memory(), zeros.data(), parameter.size());
    check(program_.device().synchronize(StreamScope::current()));  // before the zeros go
    parameter.has_grad = true;
  }
  if (bucket.parts > 1) copy(bucket.copies.data() + part.offset, parameter.grad.data(), parameter.size());
  --bucket.waits_for;
}

template <class T>
void GradientBuckets<T>::send_complete() {
  while (sent_ < buckets_.size() && buckets_[sent_].waits_for == 0) exchange_.send(sent_++);
}

template <class T>
void GradientBuckets<T>::send_rest() {
  for (Part& part : parts_)
    if (part.waits_for > 0) {
      part.waits_for = 0;
      complete(part);
    }
  send_complete();
}

template <class T>
void GradientBuckets<T>::collect() {
  for (const Part& part : parts_)
    if (const OwnBucket& bucket = buckets_[part.bucket]; bucket.parts > 1)
      copy(part.parameter->grad.data(), bucket.copies.data() + part.offset, part.parameter->size());
}

template class GradientBuckets<float>;
template class GradientBuckets<double>;

}  // namespace fastmlp
