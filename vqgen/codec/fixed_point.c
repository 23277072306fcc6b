/* The layers of `fixed_point.py` for the few rows of a step, where an operation of torch costs more than its work.
 *
 * Numbers are multiples of 2^-12 in doubles. Every sum and product is exact, so neither the order of a sum nor a fused
 * multiplication changes a bit; all else is rounded as IEEE 754 has it. The results are those of torch, to the last
 * bit, on every processor. This file must not be compiled with options that give up IEEE 754.
 */

#include <math.h>
#include <stddef.h>
#include <stdint.h>

#if defined(__AVX512F__)
#define LANES 8
#elif defined(__AVX2__)
#define LANES 4
#else
#define LANES 2
#endif
#define WIDTH (2 * LANES) /* Outputs of a panel. */
#define ROWS 6            /* Rows at a time: their sums of a panel stay in the registers. */
#define SCALE 4096.0
#define LARGEST 256.0
#define REACH 16.0
#define STEPS 1024.0
#define MAGIC 6755399441055744.0 /* 1.5 * 2^52: adding it leaves no bit behind the point, and rounds half to even. */

typedef double vec __attribute__((vector_size(8 * LANES)));
typedef double unaligned_vec __attribute__((vector_size(8 * LANES), aligned(8)));

int64_t panel_width(void) { return WIDTH; }

static inline double clamped(double value) { return value > LARGEST ? LARGEST : value < -LARGEST ? -LARGEST : value; }

/* Rounds to a multiple of 2^-12 within +-2^8, as `to_fixed`. */
static inline double fixed(double value) { return clamped(((value * SCALE + MAGIC) - MAGIC) / SCALE); }

/* Sums of N rows for one panel. A function for each N: only then do the sums stay in registers. */
#define TILE(N)                                                                                                    \
    static void tile_##N(const double *x, const double *panel, int64_t inputs, double sums[][WIDTH]) {             \
        vec s[N][2] = {{{0}}};                                                                                     \
        for (int64_t k = 0; k < inputs; k++, panel += WIDTH) {                                                     \
            const vec first = *(const unaligned_vec *)panel, second = *(const unaligned_vec *)(panel + LANES);     \
            _Pragma("GCC unroll 8") for (int row = 0; row < N; row++) {                                            \
                s[row][0] += x[row * inputs + k] * first;                                                          \
                s[row][1] += x[row * inputs + k] * second;                                                         \
            }                                                                                                      \
        }                                                                                                          \
        for (int row = 0; row < N; row++) {                                                                        \
            *(unaligned_vec *)sums[row] = s[row][0];                                                               \
            *(unaligned_vec *)(sums[row] + LANES) = s[row][1];                                                     \
        }                                                                                                          \
    }
TILE(1) TILE(2) TILE(3) TILE(4) TILE(5) TILE(6)

typedef void tile(const double *, const double *, int64_t, double[][WIDTH]);
static tile *const tiles[] = {tile_1, tile_2, tile_3, tile_4, tile_5, tile_6};

/* A linear map. The panels hold all inputs of WIDTH outputs, one input after the other, with zeros beyond the last
 * output. A bias of NULL adds nothing. */
typedef struct {
    const double *panels, *bias;
    int64_t inputs, outputs;
} linear_map;

static inline int64_t least(int64_t one, int64_t other) { return one < other ? one : other; }

/* y = fixed(x w) + bias for panel p of at most ROWS rows. */
static inline void panel_of_rows(const linear_map *map, int64_t p, int64_t n, const double *x, double *y) {
    const int64_t left = least(map->outputs - p * WIDTH, WIDTH);
    const double *bias = map->bias ? map->bias + p * WIDTH : NULL;
    double sums[ROWS][WIDTH];
    tiles[n - 1](x, map->panels + p * map->inputs * WIDTH, map->inputs, sums);
    for (int64_t row = 0; row < n; row++)
        for (int64_t o = 0; o < left; o++)
            y[row * map->outputs + p * WIDTH + o] = fixed(sums[row][o]) + (bias ? bias[o] : 0);
}

/* y = fixed(x w) + bias. x is (n, inputs). */
void fixed_linear(const linear_map *map, int64_t n, const double *x, double *y, int32_t threads) {
    const int64_t groups = (n + ROWS - 1) / ROWS, wide = (map->outputs + WIDTH - 1) / WIDTH;
    /* Panel by panel: a panel stays in the cache for all rows. */
#pragma omp parallel for collapse(2) schedule(static) num_threads(threads) if (threads > 1)
    for (int64_t p = 0; p < wide; p++)
        for (int64_t g = 0; g < groups; g++)
            panel_of_rows(map, p, least(n - g * ROWS, ROWS), x + g * ROWS * map->inputs, y + g * ROWS * map->outputs);
}

typedef struct {
    const double *weight, *bias;
    double epsilon;
} norm_layer;

/* The norm over the channels of each row: see `FixedNorm`. */
void fixed_norm(const norm_layer *norm, int64_t n, int64_t channels, const double *x, double *y) {
    for (int64_t row = 0; row < n; row++, x += channels, y += channels) {
        double total = 0, squares = 0;
        for (int64_t c = 0; c < channels; c++) total += x[c];
        const double mean = fixed(total / channels);
        for (int64_t c = 0; c < channels; c++) squares += (x[c] - mean) * (x[c] - mean);
        const double deviation = sqrt(squares / channels + norm->epsilon);
        for (int64_t c = 0; c < channels; c++)
            y[c] = fixed(fixed((x[c] - mean) / deviation) * norm->weight[c]) + norm->bias[c];
    }
}

static inline double looked_up(double value, const double *table) {
    const double inside = value > REACH ? REACH : value < -REACH ? -REACH : value;
    return table[(int64_t)(((inside + REACH) * STEPS + MAGIC) - MAGIC)];
}

/* A function of each number, by its table. */
void fixed_lookup(int64_t n, const double *x, const double *table, double *y) {
    for (int64_t i = 0; i < n; i++) y[i] = looked_up(x[i], table);
}

/* fixed(tanh(values) * sigmoid(gates)), where a row has its values and then its gates. */
void fixed_gate(int64_t n, int64_t channels, const double *x, const double *tanh, const double *sigmoid, double *y) {
    for (int64_t row = 0; row < n; row++, x += 2 * channels, y += channels)
        for (int64_t c = 0; c < channels; c++)
            y[c] = fixed(looked_up(x[c], tanh) * looked_up(x[c + channels], sigmoid));
}

/* How logits become integers: see `frequencies_of_logits`. The weights are those of 0, 1, 2, ... steps below the
 * largest logit, and the last of them is 0. */
typedef struct {
    int64_t total, last;
    double steps_per_nat, largest;
    const int64_t *weights;
} rounding;

/* The integer frequencies of rows of logits. */
void code_frequencies(const rounding *rule, int64_t n, int64_t codes, const double *logits, int64_t *y) {
    const int64_t shared = rule->total - codes;
    const double steps_per_nat = rule->steps_per_nat, largest = rule->largest;
    for (int64_t row = 0; row < n; row++, logits += codes, y += codes) {
        int64_t most = INT64_MIN, sum = 0, left = shared, first = 0;
        for (int64_t k = 0; k < codes; k++) {
            /* Not a number counts as 0. */
            const double value = logits[k] == logits[k] ? logits[k] * steps_per_nat : 0;
            const double bounded = value > largest ? largest : value < -largest ? -largest : value;
            y[k] = (int64_t)((bounded + MAGIC) - MAGIC);
            if (y[k] > most) most = y[k], first = k;
        }
        for (int64_t k = 0; k < codes; k++) {
            const int64_t below = most - y[k];
            y[k] = rule->weights[least(below, rule->last)];
            sum += y[k];
        }
        /* The quotient in doubles is the integer one or a neighbour, which the remainder tells. */
        const double ratio = (double)shared / (double)sum;
        for (int64_t k = 0; k < codes; k++) {
            int64_t share = (int64_t)((double)y[k] * ratio);
            const int64_t rest = y[k] * shared - share * sum;
            share += (rest >= sum) - (rest < 0);
            left -= share;
            y[k] = share + 1;
        }
        y[first] += left;
    }
}
