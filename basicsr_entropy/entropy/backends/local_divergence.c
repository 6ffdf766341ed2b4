/* Divergence of local joint densities and its gradient on the CPU; compiled and called by compiled.py.
 *
 * One call processes a band of rows of one plane. Densities are sums over a window of `area` pixels, as in
 * divergences.py. A vector holds consecutive neighbor levels, so that a row of bins is a broadcast product and window
 * sums need no shuffles. The pixels of a segment (SEGMENT columns of PAIR rows) use common sums over rows, and process
 * all bins within reach of any of their windows. Products are computed for BLOCK value levels at a time, column by
 * column: this way the neighbor densities of a column and the gradients w.r.t. them stay in registers.
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
#include <immintrin.h>
#endif

#if defined(__AVX512F__) && LEVELS > 8
enum { LANES = 16 };
#else
enum { LANES = 8 };
#endif
enum { PADDED = (LEVELS + LANES - 1) / LANES * LANES };
enum { SEGMENT = 8, PAIR = 2, ROWS = PAIR + 2 * RADIUS, COLUMNS = SEGMENT + 2 * RADIUS };
enum { BLOCK = 2 }; /* more would no longer leave the sums of a block in the L1 cache */

static const int radii[] = {RADII};
enum { WINDOWS = sizeof(radii) / sizeof(radii[0]) };
#define AREA(window) ((float)((2 * radii[window] + 1) * (2 * radii[window] + 1)))

#define EPS 1e-10f /* added to densities inside logarithms, as published */
#define INLINE static inline __attribute__((always_inline))
#if RADIUS <= 3
#define UNROLL _Pragma("GCC unroll 64")
#else
#define UNROLL /* unrolled, large windows would take minutes to compile */
#endif
/* Compiler barrier: reloading densities is cheaper than keeping them, which would spill all registers. */
#define RELOAD __asm__ volatile("" ::: "memory")

typedef float vec __attribute__((vector_size(4 * LANES), may_alias));
typedef int32_t ivec __attribute__((vector_size(4 * LANES), may_alias));
typedef float unaligned __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
#define ALIGNED _Alignas(64) /* vectors in two cache lines would take twice as long to load, and longer to reload */

INLINE vec splat(float x) { return x - (vec){0}; }
INLINE vec pick(ivec where, vec a, vec b) { return (vec)((where & (ivec)a) | (~where & (ivec)b)); }
INLINE vec load(const float *from) { return *(const unaligned *)from; }
INLINE void store(float *to, vec x) { *(unaligned *)to = x; }

INLINE float sum(vec x) {
    float part[LANES];
    store(part, x);
    for (int width = LANES / 2; width; width /= 2)
        for (int k = 0; k < width; k++) part[k] += part[k + width];
    return part[0];
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

#ifdef __AVX__
INLINE vec estimated_inverse_root(vec x) {
#if defined(__AVX512F__) && LEVELS > 8
    return (vec)_mm512_rsqrt14_ps((__m512)x);
#else
    return (vec)_mm256_rsqrt_ps((__m256)x);
#endif
}
#endif

/* 1 - sqrt(p/q), exactly 0 at equality; p q must be a normal number */
INLINE vec one_less_root(vec p, vec q) {
#ifdef __AVX__
    /* estimate of 12 bits and a step of third order: several times faster than a root and a division */
    const vec product = p * q, inverse = estimated_inverse_root(product), ratio = p * inverse;
    const vec error = 1.0f - product * inverse * inverse;
    const vec less = (1.0f - ratio) - ratio * (error * (0.5f + 0.375f * error));
    return (vec)((ivec)less & (p != q));
#else
    vec root = p / q;
    for (int k = 0; k < LANES; k++) root[k] = sqrtf(root[k]);
    return 1.0f - root;
#endif
}

INLINE struct bin hellinger(vec p, vec q, float area) {
    (void)area;
    const vec less = one_less_root(p, q);
    return (struct bin){q * less * less, less}; /* twice the term and its slope */
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
/* Hellinger's distance needs the root of products of two densities, which must be normal numbers. Its densities are
 * therefore multiplied by SCALE, so that such products are below 2^126, and FLOOR is added to all sums of densities. In
 * the unit of a pixel's mass this is less than 1e-33, too little to count. */
#define SCALE (0x1p63f / AREA(WINDOWS - 1))
#define FLOOR (ROOT ? 1.2e-19f : 0)
enum { FIRST_IMAGE = IS(DIVERGENCE) == is_shannon ? 1 : 0 }; /* the entropy is that of the prediction alone */
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

/* Workspace of a segment. ROWS indexes a ring buffer of the rows that the windows of the current rows reach. Memory
 * layout in the order of access: value densities of all columns per level, neighbor densities of all levels per
 * column. */
struct work {
    const struct problem *problem;
    int plane;
    struct row row[ROWS];
    ALIGNED float value[ROWS][ARRAYS][PADDED][COLUMNS];
    ALIGNED float neighbor[ROWS][ARRAYS][COLUMNS][PADDED];
    /* gradient w.r.t. the joint densities, summed over value levels with the value's densities as weights, which gives
     * the gradient w.r.t. neighbor densities, and with their derivatives */
    ALIGNED float gradient[ROWS][COLUMNS][2][PADDED];
    /* slope * factor is the gradient w.r.t. the prediction's window sum */
    ALIGNED vec factor[WINDOWS][PAIR][SEGMENT];
    union { /* for a block of value levels */
        ALIGNED vec sums[BLOCK][2][WINDOWS][PAIR][COLUMNS];
        vec spread[BLOCK][ROWS][COLUMNS];
    };
    ALIGNED vec slope[][WINDOWS][PAIR][SEGMENT]; /* of the bins processed for the current rows */
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
    ivec lane;
    for (int k = 0; k < LANES; k++) lane[k] = k;
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
        store(density + i, k);
        if (slope) store(slope + i, decline);
        mass += k;
        slope_mass += decline;
    }
    if (!problem->unit_mass) return;
    const float one = scale / sum(mass), drift = sum(slope_mass) / sum(mass);
    for (int i = 0; i < PADDED; i += LANES) {
        if (slope) store(slope + i, one * (load(slope + i) - drift * load(density + i)));
        store(density + i, load(density + i) * one);
    }
}

static void fill_row(struct work *work, int first_column, int y) {
    const struct problem *problem = work->problem;
    const float h = problem->bandwidth[work->plane], scale = ROOT ? SCALE : problem->scale[work->plane];
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

/* Sums over the rows of each window, for both rows and every column. */
INLINE void sum_rows(struct work *work, const int *rows, int i, int count, int j) {
    for (int x = 0; x < COLUMNS; x++) {
        UNROLL for (int image = FIRST_IMAGE; image < 2; image++) {
            const int array = image ? Q : P;
            vec b[ROWS];
            UNROLL for (int r = 0; r < ROWS; r++) b[r] = load(work->neighbor[rows[r]][array][x] + j);
            for (int level = 0; level < count; level++) {
#define PRODUCT(r) (work->value[rows[r]][array][i + level][x] * b[r])
                vec core = splat(FLOOR);
                int w = 0;
                UNROLL for (int k = 0; k <= RADIUS; k++) {
                    const vec upper = core + PRODUCT(RADIUS - k);
                    if (w < WINDOWS && radii[w] == k) {
                        work->sums[level][image][w][0][x] = upper;
                        work->sums[level][image][w][1][x] = core + PRODUCT(RADIUS + 1 + k);
                        w++;
                    }
                    core = upper + PRODUCT(RADIUS + 1 + k);
                }
#undef PRODUCT
            }
        }
    }
}

INLINE vec sum_columns(const vec *columns, int center, int radius) {
    vec total = columns[center];
    UNROLL for (int dx = 1; dx <= radius; dx++) total += columns[center - dx] + columns[center + dx];
    return total;
}

/* Gradients w.r.t. the joint densities of every row and column, from the slopes of the windows that reach it. */
INLINE void spread_slopes(
    const vec slope[WINDOWS][PAIR][SEGMENT], const vec factor[WINDOWS][PAIR][SEGMENT], vec spread[ROWS][COLUMNS]) {
    vec total[PAIR][COLUMNS] = {0};
    int w = WINDOWS - 1;
    UNROLL for (int k = RADIUS; k >= 0; k--) {
        vec wider[PAIR][COLUMNS];
        UNROLL for (int row = 0; row < PAIR; row++)
            UNROLL for (int x = 0; x < COLUMNS; x++) wider[row][x] = total[row][x];
        if (w >= 0 && radii[w] == k) {
            UNROLL for (int row = 0; row < PAIR; row++) {
                UNROLL for (int u = 0; u < SEGMENT; u++) {
                    const vec each = slope[w][row][u] * factor[w][row][u];
                    UNROLL for (int dx = -radii[w]; dx <= radii[w]; dx++) total[row][u + RADIUS + dx] += each;
                }
            }
            w--;
        }
        UNROLL for (int x = 0; x < COLUMNS; x++) {
            spread[RADIUS - k][x] = total[0][x] + wider[1][x];
            spread[RADIUS + 1 + k][x] = total[1][x] + wider[0][x];
        }
    }
}

INLINE void process_rows(struct work *work, int first_column, int y, int height, int gradient) {
    const struct problem *problem = work->problem;
    const int width = problem->width, columns = width - first_column < SEGMENT ? width - first_column : SEGMENT;

    int rows[ROWS];
    for (int r = 0; r < ROWS; r++) rows[r] = ring(y - RADIUS + r);
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
    const int levels = i_last - i_first + 1, blocks = (levels + BLOCK - 1) / BLOCK;

    /* per-bin terms, and their slopes for the gradient below */
    vec totals[WINDOWS][PAIR][SEGMENT] = {0};
    int bins = 0;
    for (int g = 0; g < groups; g++) {
        for (int block = 0; block < blocks; block++) {
            const int i = i_first + levels * block / blocks, count = i_first + levels * (block + 1) / blocks - i;
            sum_rows(work, rows, i, count, j_first + g * LANES);
            for (int level = 0; level < count; level++, bins++) {
                UNROLL for (int w = 0; w < WINDOWS; w++) {
                    const float area = AREA(w);
                    for (int row = 0; row < PAIR; row++) {
                        RELOAD;
                        UNROLL for (int u = 0; u < SEGMENT; u++) {
                            const vec p = sum_columns(work->sums[level][0][w][row], u + RADIUS, radii[w]);
                            const vec q = sum_columns(work->sums[level][1][w][row], u + RADIUS, radii[w]);
                            const struct bin bin = DIVERGENCE(p, q, area);
                            totals[w][row][u] += bin.term;
                            if (gradient) work->slope[bins][w][row][u] = bin.slope;
                        }
                    }
                }
            }
        }
    }

    /* terms and slopes of Hellinger's distance are twice those of densities without the scale of the plane */
    const float scale = ROOT ? 0.5f / SCALE * problem->scale[work->plane] : 1;
    memset(work->factor, 0, sizeof(work->factor));
    for (int row = 0; row < height; row++) {
        const size_t here = ((size_t)work->plane * problem->height + y + row) * width + first_column;
        for (int u = 0; u < columns; u++) {
            float mean = 0;
            for (int w = 0; w < WINDOWS; w++) {
                const float per_pixel = scale / AREA(w), total = sum(totals[w][row][u]) * per_pixel;
                const float distance = ROOT ? sqrtf(total) : total;
                mean += distance / WINDOWS;
                if (!gradient) continue;
                float factor = problem->upstream[here + u] * per_pixel / WINDOWS;
                if (ROOT) factor *= distance > 0 ? 0.5f / distance : 0;
                work->factor[w][row][u] = splat(factor);
            }
            problem->map[here + u] = mean;
        }
    }
    if (!gradient) return;

    /* backpropagation from the slopes to the pixels of the windows */
    bins = 0;
    for (int g = 0; g < groups; g++) {
        const int j = j_first + g * LANES;
        for (int block = 0; block < blocks; block++) {
            const int i = i_first + levels * block / blocks, count = i_first + levels * (block + 1) / blocks - i;
            for (int level = 0; level < count; level++, bins++) {
                RELOAD;
                spread_slopes(work->slope[bins], work->factor, work->spread[level]);
            }
            for (int x = 0; x < COLUMNS; x++) {
                vec by_value[ROWS], by_slope[ROWS];
                UNROLL for (int r = 0; r < ROWS; r++) {
                    by_value[r] = load(work->gradient[rows[r]][x][0] + j);
                    by_slope[r] = load(work->gradient[rows[r]][x][1] + j);
                }
                for (int level = 0; level < count; level++) {
                    UNROLL for (int r = 0; r < ROWS; r++) {
                        const vec spread = work->spread[level][r][x];
                        by_value[r] += spread * work->value[rows[r]][Q][i + level][x];
                        by_slope[r] += spread * work->value[rows[r]][Q_SLOPE][i + level][x];
                    }
                }
                UNROLL for (int r = 0; r < ROWS; r++) {
                    store(work->gradient[rows[r]][x][0] + j, by_value[r]);
                    store(work->gradient[rows[r]][x][1] + j, by_slope[r]);
                }
            }
        }
    }
}

/* Adds the accumulated gradients of a row to the result, and clears them. */
static void flush_row(struct work *work, int first_column, int y, float *grad_value, float *grad_neighbor) {
    const int r = ring(y);
    for (int c = 0; c < COLUMNS; c++) {
        const int x = first_column - RADIUS + c;
        if (y < 0 || y >= work->problem->height || x < 0 || x >= work->problem->width) continue;
        vec to_value = splat(0), to_neighbor = splat(0);
        for (int j = 0; j < PADDED; j += LANES) {
            to_value += load(work->gradient[r][c][1] + j) * load(work->neighbor[r][Q][c] + j);
            to_neighbor += load(work->gradient[r][c][0] + j) * load(work->neighbor[r][Q_SLOPE][c] + j);
        }
        grad_value[x] += sum(to_value);
        grad_neighbor[x] += sum(to_neighbor);
    }
    memset(work->gradient[r], 0, sizeof(work->gradient[r]));
}

INLINE void process_band(
    struct work *work, int first_row, int last_row, float *grad_value, float *grad_neighbor, int gradient) {
    const int width = work->problem->width;
    for (int first_column = 0; first_column < width; first_column += SEGMENT) {
        for (int y = first_row - RADIUS; y < first_row + RADIUS; y++) fill_row(work, first_column, y);
        for (int y = first_row; y < last_row + 2 * RADIUS; y += PAIR) {
            if (y < last_row) {
                for (int row = 0; row < PAIR; row++) fill_row(work, first_column, y + RADIUS + row);
                process_rows(work, first_column, y, last_row - y < PAIR ? last_row - y : PAIR, gradient);
            }
            /* no later window reaches these rows */
            for (int done = y; gradient && done < y + PAIR && done < last_row + 2 * RADIUS; done++) {
                const size_t at = (size_t)(done - first_row) * width;
                flush_row(work, first_column, done - RADIUS, grad_value + at, grad_neighbor + at);
            }
        }
    }
}

/* Writes rows first_row to last_row - 1 of a plane's map. If there is an upstream gradient, adds their gradient w.r.t.
 * the prediction to grad_value and grad_neighbor: (last_row - first_row + 2 RADIUS, width), from row first_row - RADIUS on.
 * Returns 0, or -1 if out of memory. */
int local_divergence(
    const struct problem *problem, int plane, int first_row, int last_row, float *grad_value, float *grad_neighbor) {
    const size_t bins = problem->upstream ? LEVELS * (PADDED / LANES) : 0;
    /* both sizes are multiples of 64, as they have to be */
    struct work *work = aligned_alloc(64, sizeof(struct work) + bins * sizeof(work->slope[0]));
    if (!work) return -1;
    memset(work, 0, sizeof(struct work));
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
