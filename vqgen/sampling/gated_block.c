/* One gated block at the positions of one step, for `c_block`: a torch operation on so few rows costs as much as
 * its work, and a library's product waits for the weights instead of multiplying while they arrive.
 *
 *   features --> norm --> cache --> rows of the taps x convolution, + known --> gate --> x project, + features
 *
 * Rows are cut into groups whose sums fit into the registers. Weights lie in panels: all inputs of WIDTH outputs, one
 * input after the other, so that memory is read straight on. A panel of the convolution has LANES values and the LANES
 * gates of the same channels, so the gate is applied to sums that are still in registers. Every sum adds its terms in
 * the order of the inputs, whatever the number of rows and threads: a row has the same bits in every batch.
 *
 * Source: panels and groups as in Goto and van de Geijn 2008, "Anatomy of high-performance matrix multiplication".
 */

#include <math.h>
#include <stdint.h>

#if defined(__AVX512F__)
#define LANES 16
#define ROWS 12
#elif defined(__AVX2__)
#define LANES 8
#define ROWS 6
#else
#define LANES 4
#define ROWS 6
#endif
#define WIDTH (2 * LANES)
#define CHUNK 48 /* Rows at a time, at most: their inputs stay in the second cache. */
#define AHEAD 32768 /* Floats from the weights in use to the ones to fetch. Multiplying takes longer than the fetch. */

typedef float vec __attribute__((vector_size(4 * LANES)));
typedef float unaligned_vec __attribute__((vector_size(4 * LANES), aligned(4)));
typedef int32_t int_vec __attribute__((vector_size(4 * LANES)));

/* The sizes and weights of a block. `c_block` has the same fields. */
typedef struct {
    int64_t channels, taps;
    float epsilon;
    const float *norm_weight, *norm_bias, *convolution, *project, *project_bias;
    float *cache;
} block;

int64_t lanes(void) { return LANES; }

static inline vec load(const float *from) { return *(const unaligned_vec *)from; }
static inline void store(float *to, vec value) { *(unaligned_vec *)to = value; }
static inline vec all(float value) { return value - (vec){0}; }
static inline vec where(int_vec mask, vec yes, vec no) { return (vec)((mask & (int_vec)yes) | (~mask & (int_vec)no)); }

static inline float sum(vec value) {
    float total = 0;
    for (int lane = 0; lane < LANES; lane++) total += value[lane];
    return total;
}

/* e^x up to a few units in the last place, for x cut to [-87, most] with most <= 88: 2^n e^r with |r| <= ln(2) / 2. */
static inline vec exponential(vec x, float most) {
    x = where(x < -87.0f, all(-87.0f), x);
    x = where(x > most, all(most), x);
    /* Adding 1.5 * 2^23 leaves no bit behind the point: it rounds. */
    vec n = (x * 1.44269504f + 12582912.0f) - 12582912.0f;
    /* ln(2) in two parts; n times the first one is exact. */
    vec r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
    vec series = all(1.0f / 5040);
    series = series * r + 1.0f / 720;
    series = series * r + 1.0f / 120;
    series = series * r + 1.0f / 24;
    series = series * r + 1.0f / 6;
    series = series * r + 0.5f;
    series = series * r + 1.0f;
    series = series * r + 1.0f;
    return series * (vec)((__builtin_convertvector(n, int_vec) + 127) << 23);
}

/* tanh(value) * sigmoid(logit) with one division. */
static inline vec gate(vec value, vec logit) {
    /* Beyond tanh(10), which is 1 in this precision, the product below could overflow although the gate is open. */
    const vec e = exponential(2.0f * value, 20.0f);
    return (e - 1.0f) / ((e + 1.0f) * (1.0f + exponential(-logit, 88.0f)));
}

/* Multiplies N rows with one panel. `rows` has the N rows of the first tap, then those of the next one. A function for
 * each N: only then do all sums and addresses stay in registers. */
#define TILE(N)                                                                                                   \
    static void tile_##N(const float *const *rows, const float *panel, int64_t taps, int64_t channels,            \
                         vec sums[][2]) {                                                                         \
        vec s[N][2] = {{{0}}};                                                                                    \
        for (int64_t tap = 0; tap < taps; tap++, rows += N) {                                                     \
            const float *inputs[N];                                                                               \
            _Pragma("GCC unroll 16") for (int row = 0; row < N; row++) inputs[row] = rows[row];                   \
            for (int64_t c = 0; c < channels; c++, panel += WIDTH) {                                              \
                __builtin_prefetch(panel + AHEAD, 0, 2);                                                          \
                __builtin_prefetch(panel + AHEAD + LANES, 0, 2);                                                  \
                const vec first = load(panel), second = load(panel + LANES);                                      \
                _Pragma("GCC unroll 16") for (int row = 0; row < N; row++) {                                      \
                    s[row][0] += inputs[row][c] * first;                                                          \
                    s[row][1] += inputs[row][c] * second;                                                         \
                }                                                                                                 \
            }                                                                                                     \
        }                                                                                                         \
        for (int row = 0; row < N; row++) sums[row][0] = s[row][0], sums[row][1] = s[row][1];                     \
    }
TILE(1) TILE(2) TILE(3) TILE(4) TILE(5) TILE(6)
#if ROWS > 6
TILE(7) TILE(8) TILE(9) TILE(10) TILE(11) TILE(12)
#endif

typedef void tile(const float *const *, const float *, int64_t, int64_t, vec[][2]);
static tile *const tiles[] = {
    tile_1, tile_2, tile_3, tile_4, tile_5, tile_6,
#if ROWS > 6
    tile_7, tile_8, tile_9, tile_10, tile_11, tile_12,
#endif
};

static void normalise(const block *b, const float *features, float *to) {
    const int64_t channels = b->channels;
    vec total = all(0), squares = all(0);
    for (int64_t c = 0; c < channels; c += LANES) total += load(features + c);
    const float mean = sum(total) / channels;
    for (int64_t c = 0; c < channels; c += LANES) {
        const vec centred = load(features + c) - mean;
        squares += centred * centred;
    }
    const float scale = 1 / sqrtf(sum(squares) / channels + b->epsilon);
    for (int64_t c = 0; c < channels; c += LANES)
        store(to + c, (load(features + c) - mean) * scale * load(b->norm_weight + c) + load(b->norm_bias + c));
}

/* LANES channels of a group, from the rows of its taps to the gate. */
static void convolve(const block *b, int64_t panel, int64_t size, const float *const *rows, const float *known,
                     float *to) {
    const int64_t channels = b->channels;
    vec sums[ROWS][2];
    tiles[size - 1](rows, b->convolution + panel * b->taps * channels * WIDTH, b->taps, channels, sums);
    for (int64_t row = 0; row < size; row++) {
        const float *values = known + row * 2 * channels + panel * LANES;
        const vec gated = gate(sums[row][0] + load(values), sums[row][1] + load(values + channels));
        store(to + row * channels + panel * LANES, gated);
    }
}

/* WIDTH channels of a group, from the gate to the sum of the layers. */
static void project(const block *b, int64_t panel, int64_t size, const float *gated, float *features) {
    const int64_t channels = b->channels;
    const float *rows[ROWS] = {0};
    for (int64_t row = 0; row < size; row++) rows[row] = gated + row * channels;
    vec sums[ROWS][2];
    tiles[size - 1](rows, b->project + panel * channels * WIDTH, 1, channels, sums);
    for (int64_t row = 0; row < size; row++)
        for (int64_t half = 0; half < 2; half++) {
            const int64_t c = panel * WIDTH + half * LANES;
            float *at = features + row * channels + c;
            store(at, load(at) + sums[row][half] + load(b->project_bias + c));
        }
}

/* Runs a statement for each group of the rows of a chunk: `begin` is its first row, `size` their number. Groups differ
 * by one row at most. */
#define EACH_GROUP(rows, groups, begin, size)                                                                    \
    for (int64_t group = 0, begin = 0, size = (rows) / (groups); group < (groups);                               \
         group++, begin = group * (rows) / (groups), size = (group + 1) * (rows) / (groups) - begin)

/* Adds the gated features to `features` (rows, channels). `write` has the row of the cache for each row, `near` the
 * rows that its taps read, `known` (rows, 2 * channels) the part of its sums that is known ahead. */
void gated_block(const block *b, int64_t rows, float *features, const int64_t *write, const int32_t *near,
                 const float *known, int32_t threads) {
    const int64_t channels = b->channels, taps = b->taps, most = rows < CHUNK ? rows : CHUNK;
    const float *inputs[most * taps];
    float gated[most * channels];
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
        /* All rows are stored before any is read: a row may read the others. */
#pragma omp for
        for (int64_t row = 0; row < rows; row++)
            normalise(b, features + row * channels, b->cache + write[row] * channels);
        for (int64_t first = 0; first < rows; first += CHUNK) {
            const int64_t here = rows - first < CHUNK ? rows - first : CHUNK;
            const int64_t groups = (here + ROWS - 1) / ROWS;
#pragma omp single
            EACH_GROUP(here, groups, begin, size)
                for (int64_t i = 0; i < size * taps; i++)
                    inputs[begin * taps + i] = b->cache + near[(first + begin + i % size) * taps + i / size] * channels;
#pragma omp for
            for (int64_t panel = 0; panel < channels / LANES; panel++)
                EACH_GROUP(here, groups, begin, size)
                    convolve(b, panel, size, inputs + begin * taps, known + (first + begin) * 2 * channels,
                             gated + begin * channels);
#pragma omp for
            for (int64_t panel = 0; panel < channels / WIDTH; panel++)
                EACH_GROUP(here, groups, begin, size)
                    project(b, panel, size, gated + begin * channels, features + (first + begin) * channels);
        }
    }
}
