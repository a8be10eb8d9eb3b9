/* SPDX-License-Identifier: MIT */
/*
 * Reads the numbers of a tiny model, or checks by what key it is refused.
 */
#ifndef PST_HPARAMS_TESTING_H
#define PST_HPARAMS_TESTING_H

#include <stdio.h>

#include "gguf_check.h"
#include "model_priv.h"
#include "tiny_model.h"

/* Reads the numbers of a model as it stands. */
static inline int read_model(const struct tiny_model *m, struct pst_hparams *hp,
			     struct pst_diag *d)
{
	struct pst_gguf *g;
	size_t size;
	uint8_t *file = tm_build(m, &size);
	int rc;

	pst_diag_init(d);
	assert_int_equal(pst_gguf_open_mem(file, size, &g, d), 0);
	rc = pst_hparams_read(g, pst_arch_find(m->arch, strlen(m->arch)), hp,
			      d);
	pst_gguf_close(g);
	free(file);
	return rc;
}

static inline void read_ok(const struct tiny_model *m, struct pst_hparams *hp)
{
	struct pst_diag d;

	if (read_model(m, hp, &d))
		fail_msg("refused: %s", d.text);
}

static inline void refused(const struct tiny_model *m, int err, const char *key)
{
	struct pst_hparams hp = { .n_layers = 12345 };
	char word[128];
	struct pst_diag d;
	int rc = read_model(m, &hp, &d);

	if (rc != err)
		fail_msg("%s: %d (%s), not %d", key, rc, d.text, err);
	assert_int_equal(d.err, err);
	/* Untouched on failure. */
	assert_int_equal(hp.n_layers, 12345);
	if (*key == '%')
		snprintf(word, sizeof(word), "key %s ", key + 1);
	else
		snprintf(word, sizeof(word), "key %s.%s ", m->arch, key);
	if (!strstr(d.text, word))
		fail_msg("'%s' does not say '%s'", d.text, word);
}

#endif
