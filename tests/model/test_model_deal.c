// SPDX-License-Identifier: MIT
/*
 * How rows are dealt to threads: random matrices, all rows once, and how long
 * a thread may wait for the last piece.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fwd_priv.h"
#include "test_seed.h"

#define ROUNDS	     2000
#define MATRICES_MAX 9

struct work {
	struct deal deal;
	uint32_t nr;
	uint32_t rows[MATRICES_MAX];
};

static void draw(struct work *w, uint64_t *seed)
{
	uint32_t unit = pst_rng_next(seed) % 2 ? 16 : 32;
	uint32_t widest = 1u << pst_rng_next(seed) % 16;
	uint32_t nr_x = 1 + (uint32_t)(pst_rng_next(seed) % 3) * 255;
	uint32_t most = pst_rng_next(seed) % 2 ? 9 : 1000;

	w->nr = 1 + (uint32_t)(pst_rng_next(seed) % MATRICES_MAX);
	pst_deal_begin(&w->deal, unit, 1 + (uint32_t)pst_rng_next(seed) % most);
	for (uint32_t i = 0; i < w->nr; i++) {
		struct pst_weight m = {
			.n_out = 1 + (uint32_t)pst_rng_next(seed) % widest,
			.row_bytes = 1 + pst_rng_next(seed) % 8192
		};

		w->rows[i] = m.n_out;
		pst_deal_add(&w->deal, &m, nr_x);
	}
}

static void every_row_is_dealt_once_and_in_order(void **state)
{
	uint64_t seed = test_seed();

	(void)state;
	for (int round = 0; round < ROUNDS; round++) {
		uint32_t done[MATRICES_MAX] = { 0 }, count;
		struct work w;

		draw(&w, &seed);
		count = pst_deal_end(&w.deal);
		assert_in_range(count, 1, PST_DEAL_PIECES);
		for (uint32_t c = 0; c < count; c++) {
			struct deal_piece p = pst_deal_piece(&w.deal, c);
			struct deal_part part;

			assert_true(p.nr > 0);
			for (uint32_t i = 0; p.nr; i++) {
				assert_true(i < w.nr);
				if (!pst_deal_part(&w.deal, &p, w.rows[i],
						   &part))
					continue;
				assert_int_equal(part.row, done[i]);
				assert_int_equal(part.row % w.deal.unit, 0);
				assert_true(part.nr > 0);
				done[i] += part.nr;
				assert_true(done[i] == w.rows[i] ||
					    !(done[i] % w.deal.unit));
			}
		}
		for (uint32_t i = 0; i < w.nr; i++)
			assert_int_equal(done[i], w.rows[i]);
	}
}

static void one_thread_has_one_piece(void **state)
{
	struct pst_weight m = { .n_out = 4096, .row_bytes = 1152 };
	struct deal d;

	(void)state;
	pst_deal_begin(&d, 16, 1);
	pst_deal_add(&d, &m, 1);
	pst_deal_add(&d, &m, 512);
	assert_int_equal(pst_deal_end(&d), 1);
}

/*
 * Threads of equal speed that take pieces in turn: what the last one to end has
 * more than its share.
 */
static double longest_over_share(const struct deal *d, uint32_t count)
{
	uint32_t *busy = calloc(d->nr_workers, sizeof(*busy)), most = 0;

	for (uint32_t c = 0; c < count; c++) {
		uint32_t first = 0;

		for (uint32_t i = 1; i < d->nr_workers; i++)
			if (busy[i] < busy[first])
				first = i;
		busy[first] += pst_deal_piece(d, c).nr;
	}
	for (uint32_t i = 0; i < d->nr_workers; i++)
		most = PST_MAX(most, busy[i]);
	free(busy);
	return (double)most * d->nr_workers / d->total;
}

static void no_thread_waits_long_for_the_last_piece(void **state)
{
	static const uint32_t rows[] = { 2048, 3072, 4096, 8192, 128256 };
	static const uint32_t tokens[] = { 1, 8, 512 };

	(void)state;
	for (size_t i = 0; i < PST_ARRAY_SIZE(rows); i++)
		for (size_t t = 0; t < PST_ARRAY_SIZE(tokens); t++)
			for (uint32_t n = 2; n <= 4; n++) {
				struct pst_weight m = { .n_out = rows[i],
							.row_bytes = 1152 };
				struct deal d;
				uint32_t count;

				pst_deal_begin(&d, 16, n);
				pst_deal_add(&d, &m, tokens[t]);
				count = pst_deal_end(&d);
				assert_true(longest_over_share(&d, count) <
					    1.04);
				assert_true(count < 16 * n);
			}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_row_is_dealt_once_and_in_order),
		cmocka_unit_test(one_thread_has_one_piece),
		cmocka_unit_test(no_thread_waits_long_for_the_last_piece),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
