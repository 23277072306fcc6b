/* A whole step of a prior in fixed point: see `FixedSteps`, whose rings and layers these are. The results are its own,
 * to the last bit. A row is a position of an image; the images of a position lie side by side.
 */

#include "fixed_point.c"

#include <stdlib.h>
#include <string.h>

#define CHUNK 48 /* Rows at a time: weights are read once for them, and their features stay in the cache. */

typedef struct {
    int64_t count;
    const int64_t *lags, *shifts;
} tap_list;

typedef struct {
    norm_layer norm;
    linear_map convolution, condition, project;
    const double *labels; /* What the label of each image adds to the convolution. */
    double *ring;
} gated_block;

typedef struct {
    norm_layer norm;
    linear_map expand, project;
} pointwise_block;

typedef struct {
    int64_t images, channels, codes, rows_of_ring, half, slots, slope, widest;
    tap_list strict, open;
    linear_map first;
    double *ring; /* Embedded codes. */
    const double *embedding;
    int64_t num_blocks, num_pointwise;
    const gated_block *blocks;
    const pointwise_block *pointwise;
    norm_layer norm;
    linear_map logits;
    const double *tanh, *sigmoid, *gelu;
    const float *coarser; /* Features (images, coarser height, coarser width, channels); NULL without them. */
    int64_t coarser_height, coarser_width, ratio_height, ratio_width;
    const linear_map *patches; /* One for each place in the patch of a coarser position. */
    rounding rule;
} fixed_prior;

/* The features of a time, with half a kernel of rows above the grid. */
static double *at_time(const fixed_prior *p, double *ring, int64_t time) {
    const int64_t slot = (time % p->slots + p->slots) % p->slots;
    return ring + slot * p->rows_of_ring * p->images * p->channels;
}

/* Clears the slot of a time but for the rows first to first + count - 1 of the grid, and returns where these begin. */
static double *cleared(const fixed_prior *p, double *ring, int64_t time, int64_t first, int64_t count) {
    const int64_t row = p->images * p->channels;
    double *slot = at_time(p, ring, time), *here = slot + (first + p->half) * row;
    memset(slot, 0, (size_t)((first + p->half) * row) * sizeof(double));
    memset(here + count * row, 0, (size_t)((p->rows_of_ring - first - p->half - count) * row) * sizeof(double));
    return here;
}

/* Puts all taps of n rows side by side. */
static void gather(const fixed_prior *p, const tap_list *taps, double *ring, int64_t time, int64_t first, int64_t row,
                   int64_t n, double *y) {
    const int64_t c = p->channels;
    for (int64_t tap = 0; tap < taps->count; tap++) {
        const double *slot = at_time(p, ring, time - taps->lags[tap]);
        const double *x = slot + ((first + taps->shifts[tap]) * p->images + row) * c;
        for (int64_t i = 0; i < n; i++) memcpy(y + (i * taps->count + tap) * c, x + i * c, (size_t)c * sizeof(double));
    }
}

/* A step: the rows first to first + count - 1 of the grid at a time. */
typedef struct {
    int64_t time, first, rows;
    double *features, *condition; /* (rows, channels) each */
    int64_t *frequencies;         /* (rows, codes) */
} step;

/* What the coarser level says about n rows. */
static void conditions(const fixed_prior *p, const step *s, int64_t row, int64_t n, double *in, double *out) {
    const int64_t c = p->channels, places = p->ratio_height * p->ratio_width;
    for (int64_t place = 0; place < places; place++) {
        int64_t found[CHUNK], count = 0;
        for (int64_t i = row; i < row + n; i++) {
            const int64_t r = s->first + i / p->images, column = s->time - p->slope * r;
            if ((r % p->ratio_height) * p->ratio_width + column % p->ratio_width != place) continue;
            const int64_t coarser_row = (i % p->images) * p->coarser_height + r / p->ratio_height;
            const float *x = p->coarser + (coarser_row * p->coarser_width + column / p->ratio_width) * c;
            for (int64_t k = 0; k < c; k++) in[count * c + k] = x[k];
            found[count++] = i;
        }
        fixed_linear(&p->patches[place], count, in, out, 1);
        for (int64_t i = 0; i < count; i++)
            memcpy(s->condition + found[i] * c, out + i * c, (size_t)c * sizeof(double));
    }
}

static void add(int64_t n, const double *x, double *y) {
    for (int64_t i = 0; i < n; i++) y[i] += x[i];
}

static void add_clamped(int64_t n, const double *x, double *y) {
    for (int64_t i = 0; i < n; i++) y[i] = clamped(y[i] + x[i]);
}

/* Adds a gated block to the features of n rows. */
static void add_gated(const fixed_prior *p, const gated_block *block, const step *s, int64_t row, int64_t n, double *in,
                      double *out) {
    const int64_t c = p->channels, inner = 2 * c;
    gather(p, &p->open, block->ring, s->time, s->first, row, n, in);
    fixed_linear(&block->convolution, n, in, out, 1);
    for (int64_t i = 0; i < n; i++) add(inner, block->labels + (row + i) % p->images * inner, out + i * inner);
    if (p->coarser) {
        fixed_linear(&block->condition, n, s->condition + row * c, in, 1);
        add(n * inner, in, out);
    }
    fixed_gate(n, c, out, p->tanh, p->sigmoid, in);
    fixed_linear(&block->project, n, in, out, 1);
    add_clamped(n * c, out, s->features + row * c);
}

/* The frequencies of n rows. */
static void output(const fixed_prior *p, const step *s, int64_t row, int64_t n, double *in, double *out) {
    const int64_t c = p->channels;
    double *features = s->features + row * c;
    for (int64_t i = 0; i < p->num_pointwise; i++) {
        const pointwise_block *block = &p->pointwise[i];
        const int64_t inner = n * block->expand.outputs;
        fixed_norm(&block->norm, n, c, features, in);
        fixed_linear(&block->expand, n, in, out, 1);
        for (int64_t k = 0; k < inner; k++) in[k] = looked_up(out[k], p->gelu) + (out[k] > 0 ? out[k] : 0);
        fixed_linear(&block->project, n, in, out, 1);
        add_clamped(n * c, out, features);
    }
    fixed_norm(&p->norm, n, c, features, in);
    fixed_linear(&p->logits, n, in, out, 1);
    code_frequencies(&p->rule, n, p->codes, out, s->frequencies + row * p->codes);
}

/* A layer for n rows: 0 is what reads codes, the last one is the output, between them are the blocks. */
static void layer(const fixed_prior *p, const step *s, int64_t index, int64_t row, int64_t n, double *in, double *out) {
    if (index == 0) {
        gather(p, &p->strict, p->ring, s->time, s->first, row, n, in);
        fixed_linear(&p->first, n, in, s->features + row * p->channels, 1);
        if (p->coarser) conditions(p, s, row, n, in, out);
    } else if (index <= p->num_blocks) {
        add_gated(p, &p->blocks[index - 1], s, row, n, in, out);
    } else {
        output(p, s, row, n, in, out);
    }
}

/* Computes the frequencies (count, images, codes) of a step, and keeps its features for later times. Returns 0 if there
 * is no memory. In one thread: so little work would wait for a second one, above all beside other programs. */
int32_t fixed_step(const fixed_prior *p, int64_t time, int64_t first, int64_t count, int64_t *y) {
    const int64_t rows = count * p->images, size = rows * p->channels;
    double *const memory = malloc((size_t)(2 * size + 2 * CHUNK * p->widest) * sizeof(double));
    if (!memory) return 0;
    double *const in = memory + 2 * size, *const out = in + CHUNK * p->widest;
    const step s = {time, first, rows, memory, memory + size, y};
    for (int64_t index = 0; index < p->num_blocks + 2; index++) {
        if (index > 0 && index <= p->num_blocks) {
            /* All rows before the block: a convolution may read other rows of its own time. */
            const gated_block *block = &p->blocks[index - 1];
            fixed_norm(&block->norm, rows, p->channels, s.features, cleared(p, block->ring, time, first, count));
        }
        for (int64_t row = 0; row < rows; row += CHUNK) layer(p, &s, index, row, least(rows - row, CHUNK), in, out);
    }
    free(memory);
    return 1;
}

/* Keeps the embedded codes (count, images) of a time for the times that follow. */
void fixed_append(const fixed_prior *p, int64_t time, int64_t first, int64_t count, const int64_t *codes) {
    const int64_t c = p->channels;
    double *here = cleared(p, p->ring, time, first, count);
    for (int64_t row = 0; row < count * p->images; row++)
        memcpy(here + row * c, p->embedding + codes[row] * c, (size_t)c * sizeof(double));
}
