"""The functions of an exported header, in C: each formula once, for float and double.

The texts are C but for `real`, the type of the numbers; libm's functions and constants with a point
get an f where that is float. Names begin with net_. Capitals in `_CONSTANTS` depend on the type.

Branches are choices between values that are there already, so that compilers make vectors of loops.
"""

import re

LONG = 256  # inputs of an affine operation from which on a sum in float has parts

_LIBM = "copysign|expm1|fabs|fma|log|log1p|sqrt"

_SUM = """
/* in parts of 32, so that long sums are as exact as short ones */
static inline real net_NAME(size_t n, const real *x)
{
  real sum = 0, part = 0;
  size_t i;
  for (i = 0; i < n; ++i) {
    part += TERM;
    if (i % 32 == 31) {
      sum += part;
      part = 0;
    }
  }
  return sum + part;
}
"""
_SUMS = {"sum": "x[i]", "sumexp": "net_exp(x[i])", "sumsquares": "x[i] * x[i]"}

# Activations go by their native names, less any _: no name may end with _ and another, so that the
# headers of two networks, net and net_log, have no name in common.
_TEXTS = {
    "multiply_add": """
/* a b + c, in one instruction where there is one */
static inline real net_multiply_add(real a, real b, real c)
{
#ifdef FAST_FMA
  return fma(a, b, c);
#else
  return a * b + c;
#endif
}
""",
    "half": """
/* the finite number that float16's bits stand for: as float's bits it is 2^112 times too small */
static inline real net_half(uint16_t half)
{
  const uint32_t bits = ((uint32_t)(int16_t)half << 13) & 0x8fffe000u;
  float number;
  memcpy(&number, &bits, sizeof number);
  return (real)(number * 5192296858534827628530496329220096.0f);
}
""",
    "products": """
/* y += x weight, weight with a row of `outputs` numbers for each input: eight rows at a time, in
   sums that do not wait for one another */
static inline void net_products(const WEIGHT *weight, size_t inputs, size_t outputs,
                                const real *NET_RESTRICT x, real *NET_RESTRICT y)
{
  size_t i, j;
  for (i = 0; i < inputs % 8; ++i, weight += outputs) {
    const real x0 = x[i];
    for (j = 0; j < outputs; ++j) y[j] = net_multiply_add(LOAD(weight[j]), x0, y[j]);
  }
  for (; i < inputs; i += 8, weight += 8 * outputs) {
    const WEIGHT *const w = weight;
    const real x0 = x[i], x1 = x[i + 1], x2 = x[i + 2], x3 = x[i + 3];
    const real x4 = x[i + 4], x5 = x[i + 5], x6 = x[i + 6], x7 = x[i + 7];
    for (j = 0; j < outputs; ++j) {
      real a = LOAD(w[j]) * x0, b = LOAD(w[j + 4 * outputs]) * x4;
      a = net_multiply_add(LOAD(w[j + outputs]), x1, a);
      b = net_multiply_add(LOAD(w[j + 5 * outputs]), x5, b);
      a = net_multiply_add(LOAD(w[j + 2 * outputs]), x2, a);
      b = net_multiply_add(LOAD(w[j + 6 * outputs]), x6, b);
      a = net_multiply_add(LOAD(w[j + 3 * outputs]), x3, a);
      b = net_multiply_add(LOAD(w[j + 7 * outputs]), x7, b);
      y[j] += a + b;
    }
  }
}
""",
    "affine": """
/* y = bias + x weight */
static inline void net_affine(const WEIGHT *weight, const real *bias, size_t inputs, size_t outputs,
                              const real *x, real *y)
{
  size_t j;
  for (j = 0; j < outputs; ++j) y[j] = bias[j];
  net_products(weight, inputs, outputs, x, y);
}
""",
    "longaffine": """
/* the same of many inputs: in parts, so that long sums are as exact as short ones */
static inline void net_longaffine(const WEIGHT *weight, const real *bias, size_t inputs,
                                  size_t outputs, const real *x, real *y, real *part)
{
  size_t i, j;
  for (j = 0; j < outputs; ++j) y[j] = bias[j];
  for (i = 0; i < inputs; i += LONG) {
    const size_t left = inputs - i, count = left < LONG ? left : LONG;
    for (j = 0; j < outputs; ++j) part[j] = 0;
    net_products(weight + i * outputs, count, outputs, x + i, part);
    for (j = 0; j < outputs; ++j) y[j] += part[j];
  }
}
""",
    "exp_parts": """
/* p and *power with exp(x) = *power * (1 + p), for LOW <= x <= 0. x = n ln 2 + r, |r| <= ln(2) / 2:
   n comes from a sum too large for a fraction, 2^n from the bits of that sum, p from a polynomial.
   Where sums are not rounded so, libm does it. */
static inline real net_exp_parts(real x, real *power)
{
#if FLT_EVAL_METHOD < 0 || FLT_EVAL_METHOD == 1 || FLT_EVAL_METHOD == 2 || \\
    defined(__FAST_MATH__) || DIGITS
  *power = 1;
  return expm1(x);
#else
  const real sum = net_multiply_add(x, LOG2E, ROUND), n = sum - ROUND;
  const real r = net_multiply_add(n, -LN2_LOW, net_multiply_add(n, -LN2_HIGH, x));
  BITS bits;
  real p = LAST;
  memcpy(&bits, &sum, sizeof bits);
  bits = (bits << MANTISSA) + ((BITS)BIAS << MANTISSA);
  memcpy(power, &bits, sizeof bits);
POLYNOMIAL
  return net_multiply_add(r * r, p, r);
#endif
}
""",
    "exp": """
/* exp(x) for x <= 0; 0 below LOW */
static inline real net_exp(real x)
{
  real power;
  const real p = net_exp_parts(x < LOW ? LOW : x, &power), y = net_multiply_add(power, p, power);
  return x < LOW ? 0 : y;
}
""",
    "expm1": """
/* exp(x) - 1 for x <= 0; 0 for others */
static inline real net_expm1(real x)
{
  const real negative = x > 0 ? 0 : x;
  real power;
  const real p = net_exp_parts(negative < LOW ? LOW : negative, &power);
  return net_multiply_add(power, p, power - 1);
}
""",
    "identity": """
static inline real net_identity(real x) { return x; }
""",
    "relu": """
static inline real net_relu(real x) { return x <= 0 ? 0 : x; }
""",
    "leakyrelu": """
static inline real net_leakyrelu(real x, real slope)
{
  const real scaled = slope * x;
  return x > 0 ? x : scaled;
}
""",
    "sigmoid": """
/* 1 / (1 + exp(-x)) */
static inline real net_sigmoid(real x)
{
  const real e = net_exp(-fabs(x)), upper = 1 / (1 + e), lower = e * upper;
  return x < 0 ? lower : upper;
}
""",
    "tanh": """
/* -m / (m + 2) with m = exp(-2 |x|) - 1, and the sign of x */
static inline real net_tanh(real x)
{
  const real m = net_expm1(-2 * fabs(x));
  return copysign(m / (m + 2), x);
}
""",
    "hardtanh": """
static inline real net_hardtanh(real x, real low, real high)
{
  const real below = x > high ? high : x;
  return x < low ? low : below;
}
""",
    "gelu": """
/* x times the normal distribution function; erfc of an argument in float would cost digits */
static inline real net_gelu(real x)
{
  return (real)((double)x / 2 * erfc((double)x * -SQRT_HALF));
}
""",
    "gelutanh": """
/* x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))), but for the cancellation */
static inline real net_gelutanh(real x)
{
  return x * net_sigmoid(1.5957691216057308 * (x + 0.044715 * (x * x) * x));
}
""",
    "silu": """
static inline real net_silu(real x) { return x * net_sigmoid(x); }
""",
    "elu": """
static inline real net_elu(real x, real alpha)
{
  const real negative = alpha * net_expm1(x);
  return x > 0 ? x : negative;
}
""",
    "selu": """
static inline real net_selu(real x)
{
  const real positive = 1.0507009873554805 * x, negative = 1.7580993408473769 * net_expm1(x);
  return x > 0 ? positive : negative;
}
""",
    "celu": """
static inline real net_celu(real x, real alpha)
{
  const real negative = alpha * net_expm1(x / alpha);
  return x > 0 ? x : negative;
}
""",
    "softplus": """
/* log(1 + exp(beta x)) / beta, and x where beta x exceeds the threshold */
static inline real net_softplus(real x, real beta, real threshold)
{
  const real z = beta * x, y = ((z < 0 ? 0 : z) + log1p(net_exp(-fabs(z)))) / beta;
  return z > threshold ? x : y;
}
""",
    "mish": """
/* x tanh(log(1 + exp(x))), the tanh as n / (n + d) */
static inline real net_mish(real x)
{
  const real e = net_exp(-fabs(x)), upper = 1 + 2 * e, lower = e * (e + 2), square = 2 * e * e;
  const real n = x < 0 ? lower : upper, d = x < 0 ? 2 : square;
  return x * (n / (n + d));
}
""",
    "hardswish": """
static inline real net_hardswish(real x)
{
  const real middle = x * (x + 3) / 6, upper = x >= 3 ? x : middle;
  return x <= -3 ? 0 : upper;
}
""",
    "hardsigmoid": """
static inline real net_hardsigmoid(real x)
{
  const real middle = (x + 3) / 6, upper = x >= 3 ? 1 : middle;
  return x <= -3 ? 0 : upper;
}
""",
    "logsigmoid": """
static inline real net_logsigmoid(real x)
{
  return (x > 0 ? 0 : x) - log1p(net_exp(-fabs(x)));
}
""",
    "softsign": """
static inline real net_softsign(real x) { return x / (1 + fabs(x)); }
""",
    "column_scale": """
static inline real net_column_scale(real x, real centre, real scale, real offset)
{
  return net_multiply_add(x - centre, scale, offset);
}
""",
    **{name: _SUM.replace("NAME", name).replace("TERM", term) for name, term in _SUMS.items()},
    "below_largest": """
/* y = x less its largest value */
static inline void net_below_largest(size_t n, const real *x, real *y)
{
  real largest = x[0];
  size_t i;
  for (i = 1; i < n; ++i) largest = x[i] > largest ? x[i] : largest;
  for (i = 0; i < n; ++i) y[i] = x[i] - largest;
}
""",
    "softmax": """
static inline void net_softmax(size_t n, const real *x, real *y)
{
  real sum;
  size_t i;
  net_below_largest(n, x, y);
  for (i = 0; i < n; ++i) y[i] = net_exp(y[i]);
  sum = net_sum(n, y);
  for (i = 0; i < n; ++i) y[i] /= sum;
}
""",
    "logsoftmax": """
static inline void net_logsoftmax(size_t n, const real *x, real *y)
{
  real log_sum;
  size_t i;
  net_below_largest(n, x, y);
  log_sum = log(net_sumexp(n, y));
  for (i = 0; i < n; ++i) y[i] -= log_sum;
}
""",
    "normalize": """
/* y = (x - mean) / sqrt(variance + eps) */
static inline void net_normalize(size_t n, real eps, const real *x, real *y)
{
  const real first = x[0];
  real mean, inverse;
  size_t i;
  for (i = 0; i < n; ++i) y[i] = x[i] - first; /* so that a common offset costs no digits */
  mean = net_sum(n, y) / (real)n;
  for (i = 0; i < n; ++i) y[i] -= mean;
  inverse = 1 / sqrt(net_sumsquares(n, y) / (real)n + eps);
  for (i = 0; i < n; ++i) y[i] *= inverse;
}
""",
}

# What depends on the type; exp(r) = 1 + r + r^2 p(r) is the polynomial of cpu/vmath_coefficients.h.
_CONSTANTS = {
    "float32": {
        "FAST_FMA": "FP_FAST_FMAF",
        "DIGITS": "FLT_MANT_DIG != 24",
        "BITS": "uint32_t",
        "MANTISSA": "23",
        "BIAS": "127",
        "ROUND": "12582912.0",
        "LOW": "-87",
        "LOG2E": "1.44269502",
        "LN2_HIGH": "0.693145752",
        "LN2_LOW": "1.42860677e-6",
        "P": "0.49999997 0.16666546 0.041667443 0.008366253 0.0013869947",
    },
    "float64": {
        "FAST_FMA": "FP_FAST_FMA",
        "DIGITS": "DBL_MANT_DIG != 53",
        "BITS": "uint64_t",
        "MANTISSA": "52",
        "BIAS": "1023",
        "ROUND": "6755399441055744.0",
        "LOW": "-708",
        "LOG2E": "1.4426950408889634",
        "LN2_HIGH": "0.6931471805598903",
        "LN2_LOW": "5.497923018708371e-14",
        "P": "0.5 0.16666666666666677 0.04166666666666669 0.008333333333321776"
        " 0.001388888888888685 0.0001984126988534355 2.480158729466641e-5"
        " 2.7557245207398678e-6 2.7557315989443614e-7 2.510865051308005e-8"
        " 2.0897930163649195e-9",
    },
}
TYPES = {"float32": "float", "float64": "double"}


def constants_of(name: str) -> int:
    """How many constants an activation takes beside x."""
    signature = re.search(rf"net_{name}\(real x(.*?)\)", _TEXTS[name])
    assert signature is not None
    return signature[1].count(",")


def definitions(text: str, half: bool) -> str:
    """The functions that a text with calls of net_... needs, in order; with those they need."""
    needed: set[str] = set()
    new = _called(text, half)
    while new:
        needed |= new
        new = set().union(*(_called(_TEXTS[name], half) for name in new)) - needed
    return "".join(body for name, body in _TEXTS.items() if name in needed)


def _called(text: str, half: bool) -> set[str]:
    return {name for name in re.findall(r"\bnet_(\w+)\(", _load(text, half)) if name in _TEXTS}


def _load(text: str, half: bool) -> str:
    return re.sub(r"\bLOAD\((.*?\])\)", r"net_half(\1)" if half else r"\1", text)


def in_c(text: str, name: str, dtype: str, half: bool) -> str:
    """A text of this file as C, with the prefix `name`."""
    constants = {**_CONSTANTS[dtype], "LONG": str(LONG)}
    *lower, last = constants.pop("P").split()
    steps = [f"  p = net_multiply_add(p, r, {c});" for c in reversed(lower)]
    constants |= {"LAST": last, "POLYNOMIAL": "\n".join(steps), "SQRT_HALF": "SQRT_HALF"}
    constants["WEIGHT"] = "uint16_t" if half else TYPES[dtype]
    text = _load(text, half)
    text = re.sub(r"\b[A-Z][A-Z0-9_]*\b", lambda token: constants.get(token[0], token[0]), text)
    if dtype == "float32":
        text = re.sub(rf"\b({_LIBM})\(", r"\1f(", text)
        text = re.sub(r"\b(\d+\.\d+(?:e-?\d+)?)\b(?!f)", r"\1f", text)
    text = text.replace("SQRT_HALF", "0.70710678118654752")  # of a double, whatever the type
    text = re.sub(r"\breal\b", TYPES[dtype], text)
    return re.sub(r"\bnet_", f"{name}_", text).replace("NET_", f"{name.upper()}_")
