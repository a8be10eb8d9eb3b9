// SPDX-License-Identifier: MIT
/*
 * SmolLM3: Llama's blocks, of which every fourth is not rotated.
 */
#include "arch_rows.h"

/* Not among the keys. */
#define BLOCKS_PER_UNROTATED 4

static void read_keys(struct pst_keys *r, struct pst_hparams *hp)
{
	(void)r;
	for (uint32_t i = 0; i < hp->n_layers; i++)
		if ((i + 1) % BLOCKS_PER_UNROTATED == 0)
			hp->layer[i].rope = PST_ROPE_NONE;
}

const struct pst_arch pst_arch_smollm3 = {
	.name = "smollm3",
	.rope = PST_ROPE_NORM,
	.keys = read_keys,
};
