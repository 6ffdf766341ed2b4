/* Divergence of local joint densities and its gradient on the CPU; compiled and called by compiled.py.
 *
 * One call processes a band of rows of one plane. Densities are sums over a window of `area` pixels, as in
 * divergences.py. A vector holds consecutive neighbor levels, so that a row of bins is a broadcast product and window
 * sums need no shuffles. The pixels of a segment (SEGMENT columns of PAIR rows) use common sums over rows and columns.
 * For each value level they process the neighbor levels that a pixel of their windows reaches beside it. Products are
 * computed for BLOCK value levels at a time, column by column: this way the neighbor densities of a column and the
 * gradients w.r.t. them stay in registers. Hellinger's distance of windows of one pixel needs no joint bins at all.
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
#define WIDE
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
typedef float quad __attribute__((vector_size(16)));
typedef int32_t ivec __attribute__((vector_size(4 * LANES), may_alias));
typedef float unaligned __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
#define ALIGNED _Alignas(64) /* vectors in two cache lines would take twice as long to load, and longer to reload */

INLINE vec splat(float x) { return x - (vec){0}; }
INLINE vec pick(ivec where, vec a, vec b) { return (vec)((where & (ivec)a) | (~where & (ivec)b)); }
INLINE vec load(const float *from) { return *(const unaligned *)from; }
INLINE void store(float *to, vec x) { *(unaligned *)to = x; }

/* unlike fminf and fmaxf single instructions; b if a is not a number */
INLINE float minimum(float a, float b) { return a < b ? a : b; }
INLINE float maximum(float a, float b) { return a > b ? a : b; }

INLINE float sum(vec x) {
    quad part[LANES / 4];
    memcpy(part, &x, sizeof(x));
    for (int width = LANES / 8; width; width /= 2)
        for (int k = 0; k < width; k++) part[k] += part[k + width];
    return (part[0][0] + part[0][2]) + (part[0][1] + part[0][3]);
}

INLINE vec absolute(vec x) { return (vec)((ivec)x & INT32_MAX); }

INLINE ivec levels_from(int first) {
    ivec lane;
    for (int k = 0; k < LANES; k++) lane[k] = k;
    return lane + first;
}

#ifdef __AVX__ /* estimates of 12 bits, with AVX-512 of 14 */
#ifdef WIDE
INLINE vec estimated_inverse(vec x) { return (vec)_mm512_rcp14_ps((__m512)x); }
INLINE vec estimated_inverse_root(vec x) { return (vec)_mm512_rsqrt14_ps((__m512)x); }
#else
INLINE vec estimated_inverse(vec x) { return (vec)_mm256_rcp_ps((__m256)x); }
INLINE vec estimated_inverse_root(vec x) { return (vec)_mm256_rsqrt_ps((__m256)x); }
#endif
#endif

/* 1/x of numbers near 1, relative error 1e-7 */
INLINE vec inverse(vec x) {
#ifdef __AVX__
    const vec estimate = estimated_inverse(x), error = 1.0f - x * estimate;
    return estimate + estimate * (error + error * error);
#else
    return 1.0f / x;
#endif
}

/* e^x for x <= 0 as 2^n e^r with |r| <= log(2)/2, relative error 1e-7; 0 where the result would be subnormal */
INLINE vec exponential(vec x) {
    const vec magic = splat(12582912.0f); /* 1.5 * 2^23: adding it rounds to an integer */
    const vec n = (x * 1.44269504f + magic) - magic;
    const vec r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
    const vec tail = 0.499999934f + r * (0.166665205f + r * (0.0416683893f + r * (0.0083687302f + r * 0.00138145708f)));
    const vec power = 1.0f + (r + r * r * tail);
#ifdef WIDE
    const vec result = (vec)_mm512_scalef_ps((__m512)power, (__m512)n);
#else
    const vec result = power * (vec)((__builtin_convertvector(n, ivec) + 127) << 23);
#endif
    return pick(x > -87.0f, result, splat(0.0f));
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

/* 1 - sqrt(p/q), exactly 0 at equality; p q must be a normal number */
INLINE vec one_less_root(vec p, vec q) {
#ifdef __AVX__
    /* an estimate and a step of third order, which that of AVX-512 does not need: faster than a root and a division */
    const vec estimate = estimated_inverse_root(p * q), ratio = p * estimate;
    const vec error = 1.0f - ratio * (q * estimate);
#ifdef WIDE
    const vec less = (1.0f - ratio) - 0.5f * (ratio * error);
#else
    const vec less = (1.0f - ratio) - ratio * (error * (0.5f + 0.375f * error));
#endif
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
/* the first window that needs joint bins */
#define HEAD_OF(first, ...) first
#define HEAD(...) HEAD_OF(__VA_ARGS__, )
enum { FIRST_WINDOW = ROOT && HEAD(RADII) == 0, JOINT_WINDOWS = WINDOWS - FIRST_WINDOW };
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

/* Densities of the target and of the prediction, and the derivatives of the prediction's. */
enum { P, Q, Q_SLOPE, ARRAYS };

/* For each value level, the range of neighbor levels within reach; empty if low > high. */
struct reached {
    ALIGNED float low[PADDED], high[PADDED];
};

/* Hellinger's distance of a window of one pixel: the sum of its terms, the derivatives of the sum, and the factor of
 * the derivatives, 0 until it is known. */
struct single {
    float total, by_value, by_neighbor, factor;
};

/* Workspace of a segment. ROWS indexes a ring buffer of the rows that the windows of the current rows reach. Memory
 * layout in the order of access: value densities of all columns per level, neighbor densities of all levels per
 * column. */
struct work {
    const struct problem *problem;
    int plane;
    struct reached reached[ROWS];
    struct single single[ROWS][SEGMENT];
    ALIGNED float value[ROWS][ARRAYS][PADDED][COLUMNS];
    ALIGNED float neighbor[ROWS][ARRAYS][COLUMNS][PADDED];
    /* gradient w.r.t. the joint densities, summed over value levels with the value's densities as weights, which gives
     * the gradient w.r.t. neighbor densities, and with their derivatives */
    ALIGNED float gradient[ROWS][COLUMNS][2][PADDED];
    /* slope * factor is the gradient w.r.t. the prediction's window sum */
    ALIGNED vec factor[WINDOWS][PAIR][SEGMENT];
    union {
        ALIGNED float over_levels[ARRAYS][COLUMNS][PADDED]; /* value densities of a row, before they are transposed */
        ALIGNED vec sums[BLOCK][2][JOINT_WINDOWS][PAIR][COLUMNS]; /* for a block of value levels */
        vec spread[BLOCK][ROWS][COLUMNS];
    };
    ALIGNED vec slope[][JOINT_WINDOWS][PAIR][SEGMENT]; /* of the bins processed for the current rows */
};

/* the nearest number in the range of levels, 0 if x is not a number: most of the mass of x is at the level next to it */
INLINE float in_range(float x) { return minimum(maximum(x, 0), LEVELS - 1); }

INLINE int ring(int y) { return (y + ROWS) % ROWS; } /* y >= -ROWS */

/* Densities scale * k((i - x) per_level) at the levels i and, unless slope is null, their derivatives w.r.t. x. Compiled
 * once for both images: two copies may be rounded differently, which the root of Hellinger's distance would turn into a
 * gradient where both images are equal. */
static __attribute__((noinline, noclone)) void densities(
    const struct problem *problem, float per_level, float x, float scale, float *density, float *slope) {
    /* With unit mass they are relative to that of the nearest level, the largest: where the kernel is narrow or x far
     * outside the range, all of them would underflow. */
    const float nearest = in_range(rintf(x));
    const float distance = problem->unit_mass ? fabsf((nearest - x) * per_level) : 0;
    const float at_nearest = problem->unit_mass ? expf(-distance) : 1;
    vec mass = splat(0), slope_mass = splat(0);
    for (int i = 0; i < PADDED; i += LANES) {
        const ivec level = levels_from(i);
        const vec v = (__builtin_convertvector(level, vec) - x) * per_level, away = absolute(v);
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
            const vec share = inverse(1.0f + decay);
            k = relative_decay * share * (problem->kernel == SECH ? splat(0.636619772f) : share);
            decline = (vec)((ivec)((1.0f - decay) * share) | ((ivec)v & INT32_MIN));
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

/* Sums over the levels of one pixel, from which those over its joint bins follow. */
struct side {
    float mass, less, squares; /* of q, q l and q l^2, where l = 1 - sqrt(p/q) */
    float slope, slope_less;   /* of the derivative of q, and of that times l */
};

INLINE struct side compare(const float *p, const float *q, const float *slope, float scale) {
    vec mass = splat(0), mass_less = mass, squares = mass, slopes = mass, slope_less = mass;
    for (int i = 0; i < PADDED; i += LANES) {
        const vec scaled = load(q + i) * scale + FLOOR;
        const vec less = one_less_root(load(p + i) * scale + FLOOR, scaled);
        mass += scaled;
        mass_less += scaled * less;
        squares += scaled * less * less;
        slopes += load(slope + i);
        slope_less += load(slope + i) * less;
    }
    return (struct side){
        sum(mass) / scale, sum(mass_less) / scale, sum(squares) / scale, sum(slopes), sum(slope_less)};
}

/* Twice the terms of the joint bins of one pixel, like those of larger windows. With l and m for the densities of value
 * and neighbor, 1 - sqrt(p/q) = l + m - l m for their products: sums over bins are products of sums over levels, and
 * nothing is lost near equality, where l and m vanish. */
INLINE struct single single_pixel(struct side v, struct side n) {
    return (struct single){
        .total = v.squares * (n.mass + n.squares - 2 * n.less) + n.squares * (v.mass - 2 * v.less) + 2 * v.less * n.less,
        .by_value = v.slope_less * (n.mass - n.less) + v.slope * n.less,
        .by_neighbor = n.slope_less * (v.mass - v.less) + n.slope * v.less,
    };
}

/* Widens the ranges by the levels that a pixel reaches. */
INLINE void widen(struct reached *reached, float value, float neighbor, float reach) {
    for (int i = 0; i < PADDED; i += LANES) {
        const ivec within = absolute(__builtin_convertvector(levels_from(i), vec) - value) <= reach;
        const vec low = load(reached->low + i), high = load(reached->high + i);
        store(reached->low + i, pick(within & (neighbor - reach < low), splat(neighbor - reach), low));
        store(reached->high + i, pick(within & (neighbor + reach > high), splat(neighbor + reach), high));
    }
}

static void fill_row(struct work *work, int first_column, int y) {
    const struct problem *problem = work->problem;
    const float bandwidth = problem->bandwidth[work->plane], per_level = 1 / bandwidth;
    const float scale = ROOT ? SCALE : problem->scale[work->plane], reach = maximum(problem->reach * bandwidth, 1);
    const int r = ring(y);
    for (int i = 0; i < PADDED; i++) {
        work->reached[r].low[i] = INFINITY;
        work->reached[r].high[i] = -INFINITY;
    }
    for (int c = 0; c < COLUMNS; c++) {
        const int x = first_column - RADIUS + c;
        if (y < 0 || y >= problem->height || x < 0 || x >= problem->width) {
            for (int array = 0; array < ARRAYS; array++) {
                memset(work->over_levels[array][c], 0, sizeof(work->over_levels[array][c]));
                memset(work->neighbor[r][array][c], 0, sizeof(work->neighbor[r][array][c]));
            }
            continue;
        }
        const size_t at = ((size_t)work->plane * problem->height + y) * problem->width + x;
        const float value[] = {problem->target_value[at], problem->pred_value[at]};
        const float neighbor[] = {problem->target_neighbor[at], problem->pred_neighbor[at]};
        float *const p = work->over_levels[P][c], *const q = work->over_levels[Q][c];
        float *const q_slope = work->over_levels[Q_SLOPE][c], *const b = work->neighbor[r][P][c];
        float *const d = work->neighbor[r][Q][c], *const d_slope = work->neighbor[r][Q_SLOPE][c];
        densities(problem, per_level, value[0], scale, p, NULL);
        densities(problem, per_level, value[1], scale, q, q_slope);
        densities(problem, per_level, neighbor[0], 1, b, NULL);
        densities(problem, per_level, neighbor[1], 1, d, d_slope);
        for (int image = 0; image < (TARGET_ONLY ? 1 : 2); image++)
            widen(&work->reached[r], in_range(value[image]), in_range(neighbor[image]), reach);
        if (FIRST_WINDOW && c >= RADIUS && c < RADIUS + SEGMENT)
            work->single[r][c - RADIUS] = single_pixel(compare(p, q, q_slope, 1), compare(b, d, d_slope, SCALE));
    }
    for (int array = 0; array < ARRAYS; array++)
        for (int i = 0; i < LEVELS; i++)
            for (int c = 0; c < COLUMNS; c++) work->value[r][array][i][c] = work->over_levels[array][c][i];
}

/* Bins that are processed together: `values` value levels, and `vectors` vectors of neighbor levels. */
struct block {
    int value, values, neighbor, vectors;
};

/* Covers the bins within reach of the current rows by blocks, in ascending order; returns their number. */
static int find_blocks(const struct work *work, struct block blocks[LEVELS]) {
    struct reached all = work->reached[0];
    for (int r = 1; r < ROWS; r++) {
        for (int i = 0; i < PADDED; i++) {
            all.low[i] = minimum(all.low[i], work->reached[r].low[i]);
            all.high[i] = maximum(all.high[i], work->reached[r].high[i]);
        }
    }
    int count = 0;
    for (int i = 0; i < LEVELS; i++) {
        if (all.low[i] > all.high[i]) continue;
        float low = INFINITY, high = -INFINITY;
        int values = 0;
        for (; values < BLOCK && i + values < LEVELS; values++) {
            low = minimum(low, all.low[i + values]);
            high = maximum(high, all.high[i + values]);
        }
        const int last = (int)minimum(floorf(high), LEVELS - 1);
        int first = (int)maximum(ceilf(low), 0);
        const int vectors = (last - first + LANES) / LANES, aligned = first - first % LANES;
        if (aligned + vectors * LANES > last) first = aligned; /* no more vectors, and faster to load */
        if (first > PADDED - vectors * LANES) first = PADDED - vectors * LANES;
        blocks[count++] = (struct block){i, values, first, vectors};
        i += values - 1;
    }
    return count;
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
                int w = FIRST_WINDOW;
                UNROLL for (int k = 0; k <= RADIUS; k++) {
                    const vec upper = core + PRODUCT(RADIUS - k);
                    if (w < WINDOWS && radii[w] == k) {
                        work->sums[level][image][w - FIRST_WINDOW][0][x] = upper;
                        work->sums[level][image][w - FIRST_WINDOW][1][x] = core + PRODUCT(RADIUS + 1 + k);
                        w++;
                    }
                    core = upper + PRODUCT(RADIUS + 1 + k);
                }
#undef PRODUCT
            }
        }
    }
}

/* Sums over the columns of a window round each pixel. The columns that two neighboring pixels both reach are summed
 * once, in pairs that further pixels use too. */
INLINE void sum_columns(const vec columns[COLUMNS], int radius, vec sums[SEGMENT]) {
    const vec *first = columns + RADIUS - radius;
    UNROLL for (int u = 0; u < SEGMENT; u += 2) {
        vec shared = splat(0);
        UNROLL for (int k = 1; k < 2 * radius; k += 2) shared += first[u + k] + first[u + k + 1];
        sums[u] = first[u] + shared;
        sums[u + 1] = shared + first[u + 1 + 2 * radius];
    }
}

/* The transpose of sum_columns: adds to each column the values of the pixels whose windows reach it. */
INLINE void spread_columns(const vec pixels[SEGMENT], int radius, vec columns[COLUMNS]) {
    vec *first = columns + RADIUS - radius;
    vec pairs[SEGMENT / 2 + RADIUS] = {0};
    UNROLL for (int u = 0; u < SEGMENT; u += 2) {
        const vec shared = pixels[u] + pixels[u + 1];
        UNROLL for (int k = 0; k < radius; k++) pairs[u / 2 + k] += shared;
        first[u] += pixels[u];
        first[u + 1 + 2 * radius] += pixels[u + 1];
    }
    UNROLL for (int k = 0; radius && k < SEGMENT / 2 + radius - 1; k++) {
        first[1 + 2 * k] += pairs[k];
        first[2 + 2 * k] += pairs[k];
    }
}

/* Gradients w.r.t. the joint densities of every row and column, from the slopes of the windows that reach it. */
INLINE void spread_slopes(
    const vec slope[JOINT_WINDOWS][PAIR][SEGMENT], const vec factor[WINDOWS][PAIR][SEGMENT], vec spread[ROWS][COLUMNS]) {
    vec total[PAIR][COLUMNS] = {0};
    int w = WINDOWS - 1;
    UNROLL for (int k = RADIUS; k >= 0; k--) {
        vec wider[PAIR][COLUMNS];
        UNROLL for (int row = 0; row < PAIR; row++)
            UNROLL for (int x = 0; x < COLUMNS; x++) wider[row][x] = total[row][x];
        if (w >= FIRST_WINDOW && radii[w] == k) {
            UNROLL for (int row = 0; row < PAIR; row++) {
                vec pixels[SEGMENT];
                UNROLL for (int u = 0; u < SEGMENT; u++) pixels[u] = slope[w - FIRST_WINDOW][row][u] * factor[w][row][u];
                spread_columns(pixels, radii[w], total[row]);
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
    struct block blocks[LEVELS];
    const int count = JOINT_WINDOWS ? find_blocks(work, blocks) : 0;

    /* per-bin terms, and their slopes for the gradient below; by vectors first, which leaves their neighbor densities in
     * the L1 cache */
    vec totals[WINDOWS][PAIR][SEGMENT] = {0};
    int bins = 0;
    for (int vector = 0; vector < PADDED / LANES; vector++) {
        for (const struct block *block = blocks; block < blocks + count; block++) {
            if (vector >= block->vectors) continue;
            sum_rows(work, rows, block->value, block->values, block->neighbor + vector * LANES);
            UNROLL for (int w = FIRST_WINDOW; w < WINDOWS; w++) {
                const float area = AREA(w);
                for (int row = 0; row < PAIR; row++) {
                    vec total[SEGMENT];
                    UNROLL for (int u = 0; u < SEGMENT; u++) total[u] = totals[w][row][u];
                    for (int level = 0; level < block->values; level++) {
                        RELOAD;
                        vec p[SEGMENT], q[SEGMENT];
                        sum_columns(work->sums[level][0][w - FIRST_WINDOW][row], radii[w], p);
                        sum_columns(work->sums[level][1][w - FIRST_WINDOW][row], radii[w], q);
                        UNROLL for (int u = 0; u < SEGMENT; u++) {
                            const struct bin bin = DIVERGENCE(p[u], q[u], area);
                            total[u] += bin.term;
                            if (gradient) work->slope[bins + level][w - FIRST_WINDOW][row][u] = bin.slope;
                        }
                    }
                    UNROLL for (int u = 0; u < SEGMENT; u++) totals[w][row][u] = total[u];
                }
            }
            bins += block->values;
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
                struct single *single = w < FIRST_WINDOW ? &work->single[rows[RADIUS + row]][u] : NULL;
                const float per_pixel = scale / AREA(w);
                const float total = (single ? single->total : sum(totals[w][row][u])) * per_pixel;
                const float distance = ROOT ? sqrtf(total < 0 ? 0 : total) : total; /* rounded below 0 */
                mean += distance / WINDOWS;
                if (!gradient) continue;
                float factor = problem->upstream[here + u] * per_pixel / WINDOWS;
                if (ROOT) factor *= distance > 0 ? 0.5f / distance : 0;
                if (single)
                    single->factor = factor;
                else
                    work->factor[w][row][u] = splat(factor);
            }
            problem->map[here + u] = mean;
        }
    }
    if (!gradient) return;

    /* backpropagation from the slopes to the pixels of the windows */
    bins = 0;
    for (int vector = 0; vector < PADDED / LANES; vector++) {
        for (const struct block *block = blocks; block < blocks + count; block++) {
            if (vector >= block->vectors) continue;
            const int i = block->value, values = block->values, j = block->neighbor + vector * LANES;
            for (int level = 0; level < values; level++, bins++) {
                RELOAD;
                spread_slopes(work->slope[bins], work->factor, work->spread[level]);
            }
            for (int x = 0; x < COLUMNS; x++) {
                vec by_value[ROWS], by_slope[ROWS];
                UNROLL for (int r = 0; r < ROWS; r++) {
                    by_value[r] = load(work->gradient[rows[r]][x][0] + j);
                    by_slope[r] = load(work->gradient[rows[r]][x][1] + j);
                }
                for (int level = 0; level < values; level++) {
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
        if (FIRST_WINDOW && c >= RADIUS && c < RADIUS + SEGMENT) {
            const struct single *single = &work->single[r][c - RADIUS];
            grad_value[x] += single->factor * single->by_value;
            grad_neighbor[x] += single->factor * single->by_neighbor;
        }
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
