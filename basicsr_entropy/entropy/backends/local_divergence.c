/* Divergence of local joint densities and its gradient on the CPU; compiled and called by compiled.py.
 *
 * One call processes a band of rows of one plane. Densities are sums over a window of `area` pixels, as in
 * divergences.py. A vector holds consecutive neighbor levels, so that a row of bins is a broadcast product and window
 * sums need no shuffles. The pixels of a segment (SEGMENT columns of a row) use common sums over rows, and process all
 * bins within reach of any of their windows.
 *
 * Compiled separately for each combination of
 *   DIVERGENCE  hellinger | relative | cross | jensen_shannon | shannon
 *   LEVELS      number of intensity levels
 *   RADII       radii of the windows, ascending and comma-separated;  RADIUS  the last of them
 */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#ifdef __SSE__
#include <xmmintrin.h>
#endif

enum { LANES = 8, PADDED = (LEVELS + LANES - 1) / LANES * LANES };
enum { SEGMENT = 8, ROWS = 2 * RADIUS + 1, COLUMNS = SEGMENT + 2 * RADIUS };

static const int radii[] = {RADII};
enum { WINDOWS = sizeof(radii) / sizeof(radii[0]) };
#define AREA(window) ((float)((2 * radii[window] + 1) * (2 * radii[window] + 1)))

#define EPS 1e-10f      /* added to densities inside logarithms, as published */
#define SMALLEST 2e-38f /* slightly above the smallest normal number */
#define INLINE static inline __attribute__((always_inline))
#if RADIUS <= 3
#define UNROLL _Pragma("GCC unroll 64")
#else
#define UNROLL /* unrolled, large windows would take minutes to compile */
#endif
/* Compiler barrier: reloading densities is cheaper than keeping them, which would spill all registers. */
#define RELOAD __asm__ volatile("" ::: "memory")

typedef float vec __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef int32_t ivec __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

INLINE vec splat(float x) { return x - (vec){0}; }
INLINE vec pick(ivec where, vec a, vec b) { return (vec)((where & (ivec)a) | (~where & (ivec)b)); }
INLINE vec load(const float *from) { return *(const vec *)from; }
INLINE void add_to(float *to, vec x) { *(vec *)to += x; }

INLINE vec root(vec x) {
#ifdef __AVX__
    return __builtin_ia32_sqrtps256(x);
#else
    for (int k = 0; k < LANES; k++) x[k] = sqrtf(x[k]);
    return x;
#endif
}

INLINE float sum(vec x) {
    return ((x[0] + x[4]) + (x[2] + x[6])) + ((x[1] + x[5]) + (x[3] + x[7]));
}

/* e^x for x <= 0 as 2^n e^r with |r| <= log(2)/2, relative error 1e-7; 0 where the result would be subnormal */
INLINE vec exponential(vec x) {
    const vec magic = splat(12582912.0f); /* 1.5 * 2^23: adding it rounds to an integer */
    const vec n = (x * 1.44269504f + magic) - magic;
    const vec r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
    const vec tail = 0.499999934f + r * (0.166665205f + r * (0.0416683893f + r * (0.0083687302f + r * 0.00138145708f)));
    const vec scale = (vec)((__builtin_convertvector(n, ivec) + 127) << 23);
    return pick(x > -87.0f, (1.0f + (r + r * r * tail)) * scale, splat(0.0f));
}

/* natural logarithm of normal numbers x = 2^n (1 + f) with sqrt(1/2) <= 1 + f < sqrt(2), relative error 1e-7 */
INLINE vec logarithm(vec x) {
    const ivec from_half_root = (ivec)x - 0x3f3504f3;
    const vec n = __builtin_convertvector(from_half_root >> 23, vec);
    const vec f = (vec)((from_half_root & 0x7fffff) + 0x3f3504f3) - 1.0f;
    const vec tail =
        0.333333126f +
        f * (-0.250000096f +
             f * (0.200021187f +
                  f * (-0.166679958f +
                       f * (0.142195523f + f * (-0.124055891f + f * (0.11888163f + f * (-0.116756512f + f * 0.0674663825f)))))));
    return n * 0.693359375f + (f - f * f * (0.5f - f * tail) - n * 2.12194440e-4f);
}

/* per-bin term and slope, as in divergences.py */
struct bin {
    vec term, slope;
};

INLINE struct bin hellinger(vec p, vec q, float area) {
    (void)area;
    /* the lower bound keeps the slope finite where the prediction's density underflows */
    const vec root_q = root(pick(q > SMALLEST, q, splat(SMALLEST))), difference = root_q - root(p);
    return (struct bin){0.5f * difference * difference, 0.5f * difference / root_q};
}

INLINE struct bin relative(vec p, vec q, float area) {
    const vec q_eps = q + EPS * area;
    return (struct bin){p * logarithm((p + EPS * area) / q_eps), -p / q_eps};
}

INLINE struct bin cross(vec p, vec q, float area) {
    const vec q_eps = q + EPS * area;
    return (struct bin){-p * (logarithm(q_eps) - logf(area)), -p / q_eps};
}

INLINE struct bin jensen_shannon(vec p, vec q, float area) {
    const vec middle = 0.5f * (p + q), middle_eps = middle + EPS * area, q_eps = q + EPS * area;
    const vec log_q = logarithm(q_eps / middle_eps);
    return (struct bin){
        0.5f * (p * logarithm((p + EPS * area) / middle_eps) + q * log_q),
        0.5f * (log_q + EPS * area * (q - middle) / (q_eps * middle_eps)),
    };
}

INLINE struct bin shannon(vec p, vec q, float area) {
    (void)p;
    const vec q_eps = q + EPS * area, log_q = logarithm(q_eps) - logf(area);
    return (struct bin){-q * log_q, -(log_q + q / q_eps)};
}

enum divergences { is_hellinger, is_relative, is_cross, is_jensen_shannon, is_shannon };
#define PASTE(a, b) a##b
#define IS(name) PASTE(is_, name)
enum { ROOT = IS(DIVERGENCE) == is_hellinger };
/* the term is zero where the target has no mass, whatever the prediction */
enum { TARGET_ONLY = IS(DIVERGENCE) == is_relative || IS(DIVERGENCE) == is_cross };

enum kernel { LOGISTIC, SECH, GAUSSIAN }; /* in the order of kernels.py */

struct problem {
    int32_t height, width, kernel, unit_mass;
    float reach; /* distance in bandwidths beyond which a pixel's density is truncated */
    /* (planes): bandwidth in levels, factor of the product of value and neighbor density */
    const float *bandwidth, *scale;
    /* (planes, height, width): images in levels; upstream gradient, or null to compute the map only; result */
    const float *pred_value, *pred_neighbor, *target_value, *target_neighbor, *upstream;
    float *map;
};

struct range {
    float low, high;
};

INLINE void widen(struct range *range, float x) {
    x = fminf(fmaxf(x, 0), LEVELS - 1); /* outside the range, the nearest level has most of the mass */
    range->low = fminf(range->low, x);
    range->high = fmaxf(range->high, x);
}

INLINE struct range join(struct range a, struct range b) {
    return (struct range){fminf(a.low, b.low), fmaxf(a.high, b.high)};
}

/* Densities of the target and of the prediction, and the derivatives of the prediction's. */
enum { P, Q, Q_SLOPE, ARRAYS };

struct row {
    struct range value, neighbor; /* over the images that determine which bins are processed */
};

/* Workspace of a segment. ROWS indexes a ring buffer of the rows that the windows of the current row reach. Memory
 * layout in the order of access: value densities of all columns per level, neighbor densities of all levels per
 * column. */
struct work {
    const struct problem *problem;
    int plane;
    struct row row[ROWS];
    float value[ROWS][ARRAYS][PADDED][COLUMNS];
    float neighbor[ROWS][ARRAYS][COLUMNS][PADDED];
    /* gradients accumulated so far w.r.t. the pixels' values, and w.r.t. each of their neighbor densities */
    vec value_sum[ROWS][COLUMNS];
    float neighbor_sum[ROWS][COLUMNS][PADDED];
    vec slope[][WINDOWS][SEGMENT]; /* of the bins processed for the current row */
};

INLINE int ring(int y) { return (y + ROWS) % ROWS; } /* y >= -ROWS */

/* Densities scale * k((i - x)/h) at the levels i and, unless slope is null, their derivatives w.r.t. x. */
static void densities(const struct problem *problem, float h, float x, float scale, float *density, float *slope) {
    const float per_level = 1 / h;
    /* With unit mass they are relative to that of the nearest level, the largest: where the kernel is narrow or x far
     * outside the range, all of them would underflow. */
    const float nearest = fminf(fmaxf(rintf(x), 0), LEVELS - 1);
    const float distance = problem->unit_mass ? fabsf((nearest - x) * per_level) : 0;
    const float at_nearest = expf(-distance);
    const ivec lane = {0, 1, 2, 3, 4, 5, 6, 7};
    vec mass = splat(0), slope_mass = splat(0);
    for (int i = 0; i < PADDED; i += LANES) {
        const ivec level = lane + i;
        const vec v = (__builtin_convertvector(level, vec) - x) * per_level;
        const vec away = (vec)((ivec)v & 0x7fffffff);
        const vec nearer = pick(away > distance, distance - away, splat(0)); /* padding may lie nearer than any level */
        vec k, decline;
        if (problem->kernel == GAUSSIAN) {
            k = 0.398942280f * exponential(0.5f * nearer * (distance + away));
            decline = v;
            /* with unit mass only differences count, and those of large v would be rounded */
            if (problem->unit_mass) decline = (__builtin_convertvector(level, vec) - nearest) * per_level;
        } else {
            const vec relative_decay = exponential(nearer);
            vec decay = relative_decay * at_nearest;
            if (problem->kernel == SECH) decay *= decay;
            const vec inverse = 1.0f / (1.0f + decay);
            k = relative_decay * inverse * (problem->kernel == SECH ? splat(0.636619772f) : inverse);
            decline = (vec)((ivec)((1.0f - decay) * inverse) | ((ivec)v & INT32_MIN));
        }
        k = pick(level < LEVELS, k * scale, splat(0));
        decline *= k * per_level;
        *(vec *)(density + i) = k;
        if (slope) *(vec *)(slope + i) = decline;
        mass += k;
        slope_mass += decline;
    }
    if (!problem->unit_mass) return;
    const float one = scale / sum(mass), drift = sum(slope_mass) / sum(mass);
    for (int i = 0; i < PADDED; i += LANES) {
        if (slope) *(vec *)(slope + i) = one * (load(slope + i) - drift * load(density + i));
        *(vec *)(density + i) *= one;
    }
}

static void fill_row(struct work *work, int first_column, int y) {
    const struct problem *problem = work->problem;
    const float h = problem->bandwidth[work->plane], scale = problem->scale[work->plane];
    const int r = ring(y);
    work->row[r] = (struct row){{INFINITY, -INFINITY}, {INFINITY, -INFINITY}};
    memset(work->value[r], 0, sizeof(work->value[r]));
    memset(work->neighbor[r], 0, sizeof(work->neighbor[r]));
    for (int c = 0; c < COLUMNS; c++) {
        const int x = first_column - RADIUS + c;
        if (y < 0 || y >= problem->height || x < 0 || x >= problem->width) continue;
        const size_t at = ((size_t)work->plane * problem->height + y) * problem->width + x;
        const float value[] = {problem->target_value[at], problem->pred_value[at]};
        const float neighbor[] = {problem->target_neighbor[at], problem->pred_neighbor[at]};
        float over_levels[ARRAYS][PADDED];
        densities(problem, h, value[0], scale, over_levels[P], NULL);
        densities(problem, h, value[1], scale, over_levels[Q], over_levels[Q_SLOPE]);
        for (int array = 0; array < ARRAYS; array++)
            for (int i = 0; i < LEVELS; i++) work->value[r][array][i][c] = over_levels[array][i];
        densities(problem, h, neighbor[0], 1, work->neighbor[r][P][c], NULL);
        densities(problem, h, neighbor[1], 1, work->neighbor[r][Q][c], work->neighbor[r][Q_SLOPE][c]);
        for (int image = 0; image < (TARGET_ONLY ? 1 : 2); image++) {
            widen(&work->row[r].value, value[image]);
            widen(&work->row[r].neighbor, neighbor[image]);
        }
    }
}

/* First and last level within reach of a range of values. */
INLINE void reached(struct range range, float reach, int *first, int *last) {
    *first = (int)fmaxf(ceilf(range.low - reach), 0);
    *last = (int)fminf(floorf(range.high + reach), LEVELS - 1);
}

/* Sums over the rows of each window, for every column: (image, window, column). */
INLINE void sum_rows(const struct work *work, int y, int i, int j, vec sums[2][WINDOWS][COLUMNS]) {
    UNROLL for (int x = 0; x < COLUMNS; x++) {
        UNROLL for (int image = 0; image < 2; image++) {
            const int array = image ? Q : P;
            vec total = splat(0);
            int done = -1;
            UNROLL for (int w = 0; w < WINDOWS; w++) {
                UNROLL for (int dy = done + 1; dy <= radii[w]; dy++) {
                    UNROLL for (int side = 0; side < (dy ? 2 : 1); side++) {
                        const int r = ring(side ? y - dy : y + dy);
                        total += work->value[r][array][i][x] * load(work->neighbor[r][array][x] + j);
                    }
                }
                done = radii[w];
                sums[image][w][x] = total;
            }
        }
    }
}

INLINE vec sum_columns(const vec *columns, int center, int radius) {
    vec total = columns[center];
    UNROLL for (int dx = 1; dx <= radius; dx++) total += columns[center - dx] + columns[center + dx];
    return total;
}

INLINE void process_row(struct work *work, int first_column, int y, int gradient) {
    const struct problem *problem = work->problem;
    const int width = problem->width, columns = width - first_column < SEGMENT ? width - first_column : SEGMENT;
    const size_t here = ((size_t)work->plane * problem->height + y) * width + first_column;

    struct row all = work->row[0];
    for (int r = 1; r < ROWS; r++) {
        all.value = join(all.value, work->row[r].value);
        all.neighbor = join(all.neighbor, work->row[r].neighbor);
    }
    int i_first, i_last, j_first, j_last;
    const float reach = fmaxf(problem->reach * problem->bandwidth[work->plane], 1);
    reached(all.value, reach, &i_first, &i_last);
    reached(all.neighbor, reach, &j_first, &j_last);
    const int groups = (j_last - j_first + LANES) / LANES;
    if (j_first > PADDED - groups * LANES) j_first = PADDED - groups * LANES;

    /* per-bin terms, and their slopes for the gradient below */
    vec totals[WINDOWS][SEGMENT] = {0};
    int bins = 0;
    for (int i = i_first; i <= i_last; i++) {
        for (int g = 0; g < groups; g++, bins++) {
            RELOAD;
            vec sums[2][WINDOWS][COLUMNS];
            sum_rows(work, y, i, j_first + g * LANES, sums);
            UNROLL for (int w = 0; w < WINDOWS; w++) {
                const float area = AREA(w);
                UNROLL for (int u = 0; u < SEGMENT; u++) {
                    const vec p = sum_columns(sums[0][w], u + RADIUS, radii[w]);
                    const vec q = sum_columns(sums[1][w], u + RADIUS, radii[w]);
                    const struct bin bin = DIVERGENCE(p, q, area);
                    totals[w][u] += bin.term;
                    if (gradient) work->slope[bins][w][u] = bin.slope;
                }
            }
        }
    }

    float factor[WINDOWS][SEGMENT] = {0}; /* slope * factor is the gradient w.r.t. the prediction's window sum */
    for (int u = 0; u < columns; u++) {
        float mean = 0;
        for (int w = 0; w < WINDOWS; w++) {
            const float total = sum(totals[w][u]) / AREA(w), distance = ROOT ? sqrtf(total) : total;
            mean += distance / WINDOWS;
            if (!gradient) continue;
            factor[w][u] = problem->upstream[here + u] / (WINDOWS * AREA(w));
            if (ROOT) factor[w][u] *= distance > 0 ? 0.5f / distance : 0;
        }
        problem->map[here + u] = mean;
    }
    if (!gradient) return;

    /* backpropagation from the slopes to the pixels of the windows */
    bins = 0;
    for (int i = i_first; i <= i_last; i++) {
        vec row_sums[ROWS][COLUMNS] = {0};
        for (int g = 0; g < groups; g++, bins++) {
            RELOAD;
            const int j = j_first + g * LANES;
            vec spread[COLUMNS] = {0}; /* gradient w.r.t. the densities of a column, over the windows that reach it */
            int w = WINDOWS - 1;
            UNROLL for (int dy = RADIUS; dy >= 0; dy--) {
                if (w >= 0 && radii[w] == dy) {
                    UNROLL for (int u = 0; u < SEGMENT; u++) {
                        const vec slope = work->slope[bins][w][u] * factor[w][u];
                        UNROLL for (int dx = -radii[w]; dx <= radii[w]; dx++) spread[u + RADIUS + dx] += slope;
                    }
                    w--;
                }
                UNROLL for (int side = 0; side < (dy ? 2 : 1); side++) {
                    const int r = ring(side ? y - dy : y + dy);
                    UNROLL for (int x = 0; x < COLUMNS; x++) {
                        row_sums[r][x] += spread[x] * load(work->neighbor[r][Q][x] + j);
                        add_to(work->neighbor_sum[r][x] + j, spread[x] * work->value[r][Q][i][x]);
                    }
                }
            }
        }
        for (int r = 0; r < ROWS; r++)
            for (int x = 0; x < COLUMNS; x++) work->value_sum[r][x] += row_sums[r][x] * work->value[r][Q_SLOPE][i][x];
    }
}

/* Adds the accumulated gradients of a row to the result, and clears them. */
static void flush_row(struct work *work, int first_column, int y, float *grad_value, float *grad_neighbor) {
    const int r = ring(y);
    for (int c = 0; c < COLUMNS; c++) {
        const int x = first_column - RADIUS + c;
        if (y < 0 || y >= work->problem->height || x < 0 || x >= work->problem->width) continue;
        vec total = splat(0);
        for (int j = 0; j < PADDED; j += LANES)
            total += load(work->neighbor_sum[r][c] + j) * load(work->neighbor[r][Q_SLOPE][c] + j);
        grad_value[x] += sum(work->value_sum[r][c]);
        grad_neighbor[x] += sum(total);
    }
    memset(work->value_sum[r], 0, sizeof(work->value_sum[r]));
    memset(work->neighbor_sum[r], 0, sizeof(work->neighbor_sum[r]));
}

INLINE void process_band(
    struct work *work, int first_row, int last_row, float *grad_value, float *grad_neighbor, int gradient) {
    const int width = work->problem->width;
    for (int first_column = 0; first_column < width; first_column += SEGMENT) {
        for (int y = first_row - RADIUS; y < first_row + RADIUS; y++) fill_row(work, first_column, y);
        for (int y = first_row; y < last_row + 2 * RADIUS; y++) {
            if (y < last_row) {
                fill_row(work, first_column, y + RADIUS);
                process_row(work, first_column, y, gradient);
            }
            const size_t at = (size_t)(y - first_row) * width; /* of row y - RADIUS, which no later window reaches */
            if (gradient) flush_row(work, first_column, y - RADIUS, grad_value + at, grad_neighbor + at);
        }
    }
}

/* Writes rows first_row to last_row - 1 of a plane's map. If there is an upstream gradient, adds their gradient w.r.t.
 * the prediction to grad_value and grad_neighbor: (last_row - first_row + 2 RADIUS, width), from row first_row - RADIUS on.
 * Returns 0, or -1 if out of memory. */
int local_divergence(
    const struct problem *problem, int plane, int first_row, int last_row, float *grad_value, float *grad_neighbor) {
    const size_t bins = problem->upstream ? LEVELS * (PADDED / LANES) : 0;
    struct work *work = calloc(1, sizeof(struct work) + bins * sizeof(work->slope[0]));
    if (!work) return -1;
    work->problem = problem;
    work->plane = plane;
#ifdef __SSE__
    const unsigned int state = _mm_getcsr();
    _mm_setcsr(state | 0x8040); /* flush subnormal numbers to zero, because they are slow */
#endif
    if (problem->upstream)
        process_band(work, first_row, last_row, grad_value, grad_neighbor, 1);
    else
        process_band(work, first_row, last_row, NULL, NULL, 0);
#ifdef __SSE__
    _mm_setcsr(state);
#endif
    free(work);
    return 0;
}
