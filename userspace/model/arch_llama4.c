// SPDX-License-Identifier: MIT
/*
 * Llama 4 Scout and Maverick.  Three of four blocks look at their own run of
 * positions and rotate; the fourth looks at all, does not rotate, and heats q
 * with the position.  An expert's weight multiplies its input.
 */
#include "arch_rows.h"

#define BLOCKS_PER_FULL 4
#define CHUNK		8192
#define TEMP_SCALE	0.1f

static const char *const reads[] = { "attention.temperature_scale", NULL };

static void read_keys(struct pst_keys *r, struct pst_hparams *hp)
{
	/* Maverick does without the norm; only this tells them apart. */
	bool rms = hp->n_expert != 128;
	uint32_t chunk = CHUNK;

	pst_keys_u32(r, "attention.sliding_window", 1, UINT32_MAX / 4, &chunk);
	hp->temp_scale = TEMP_SCALE;
	pst_keys_f32(r, "attention.temperature_scale", &hp->temp_scale);
	hp->temp_len = chunk;
	hp->temp_off = 1;
	for (uint32_t i = 0; i < hp->n_layers; i++) {
		struct pst_layer_hp *lh = &hp->layer[i];
		bool full = (i + 1) % BLOCKS_PER_FULL == 0;

		lh->window = full ? 0 : chunk;
		lh->chunked = !full;
		lh->rope = full ? PST_ROPE_NONE : 0;
		lh->qk_rms = !full && rms;
		lh->q_temp = full;
	}
	pst_keys_moe_step(r, hp);
	hp->n_ff_shexp = hp->n_ff_exp;
	hp->router.by_logits = true;
	hp->router.on_input = true;
}

const struct pst_arch pst_arch_llama4 = {
	.name = "llama4",
	.rope = PST_ROPE_NORM,
	.experts = PST_EXPERTS_ALWAYS,
	.gating = PST_GATING_SIGMOID,
	.shared_expert = true,
	.reads = reads,
	.keys = read_keys,
};
