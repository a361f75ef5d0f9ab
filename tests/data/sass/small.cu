// Small kernels that have, and that have not, what scripts/check_sass.py looks for.
extern "C" {

// The compiler cannot tell how many turns there are, and so waits for each load.
__global__ void serial_loads(const float* x, float* y, long long n, long long stride) {
  float sum = 0;
#pragma unroll 4
  for (long long i = threadIdx.x; i < n; i = (i + stride) | 1) sum += x[i];
  y[threadIdx.x] = sum;
}

__global__ void batched_loads(const float* x, float* y, int n) {
  float sum = 0;
  for (int i = 0; i < n; i += 4) {
    float v[4];
#pragma unroll
    for (int k = 0; k < 4; ++k) v[k] = x[threadIdx.x + 256 * (i + k)];
#pragma unroll
    for (int k = 0; k < 4; ++k) sum += v[k];
  }
  y[threadIdx.x] = sum;
}

__device__ void product(const float4* x, int n, float (&sums)[16]) {
#pragma unroll 1
  for (int i = 0; i < n; ++i) {
    const float4 a = x[2 * i], b = x[2 * i + 1];
    const float u[4] = {a.x, a.y, a.z, a.w}, v[4] = {b.x, b.y, b.z, b.w};
#pragma unroll
    for (int k = 0; k < 16; ++k) sums[k] += u[k / 4] * v[k % 4];
  }
}

// Weights are loaded, waited for and stored one after the other.
__global__ void serial_epilogue(const float4* x, float4* w, int n, int rounds) {
  float sums[16] = {};
  product(x, n, sums);
#pragma unroll 1
  for (int i = 0; i < rounds; ++i) {
    float4 value = w[256 * i + threadIdx.x];
    value.x -= sums[0], value.y -= sums[1], value.z -= sums[2], value.w -= sums[3];
    w[256 * i + threadIdx.x] = value;
#pragma unroll
    for (int k = 0; k < 12; ++k) sums[k] = sums[k + 4];
  }
}

__global__ void batched_epilogue(const float4* x, float4* w, int n) {
  float sums[16] = {};
  product(x, n, sums);
  float4 values[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) values[i] = w[256 * i + threadIdx.x];
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    values[i].x -= sums[4 * i], values[i].y -= sums[4 * i + 1], values[i].z -= sums[4 * i + 2],
        values[i].w -= sums[4 * i + 3];
    w[256 * i + threadIdx.x] = values[i];
  }
}

// An array whose places are known at run time alone.
__global__ void local_memory(const int* x, int* y, int n) {
  int counts[64] = {};
#pragma unroll 1
  for (int i = 0; i < n; ++i) counts[x[i] & 63] += i;
  y[threadIdx.x] = counts[threadIdx.x & 63];
}

__global__ void division_in_loop(const float* x, float* y, int n) {
  float sum = 0;
  for (int i = 0; i < n; ++i) sum = (sum + 1) / x[i];
  y[threadIdx.x] = sum;
}

// Four stages of asynchronous copies, of which three are under way.
__global__ void copies(const float4* x, float* y, int n) {
  __shared__ float4 ring[4][32];
  unsigned at = static_cast<unsigned>(__cvta_generic_to_shared(&ring[0][threadIdx.x]));
#pragma unroll
  for (int k = 0; k < 3; ++k) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(at + k * 512), "l"(x + k * 32 + threadIdx.x));
    asm volatile("cp.async.commit_group;");
  }
  float sum = 0;
#pragma unroll 1
  for (int k = 0; k < n; ++k) {
    asm volatile("cp.async.wait_group 2;");
    __syncthreads();
    sum += ring[k & 3][31 - threadIdx.x].x;
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(at + ((k + 3) & 3) * 512),
                 "l"(x + (k + 3) * 32 + threadIdx.x));
    asm volatile("cp.async.commit_group;");
  }
  y[threadIdx.x] = sum;
}

}  // extern "C"
