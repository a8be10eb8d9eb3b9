// SPDX-License-Identifier: MIT
/*
 * Ministral 3, Devstral 2: Llama with YaRN, and q heated with the position.
 */
#include <math.h>

#include "arch_rows.h"

static const char *const reads[] = { "attention.temperature_scale",
				     "rope.scaling.yarn_log_multiplier", NULL };

/* YaRN's growth of the rotated numbers, less what the multiplier takes back. */
static void read_yarn(struct pst_keys *r, struct pst_rope_params *p)
{
	float mul = 0.0f;

	if (pst_keys_f32(r, "rope.scaling.yarn_log_multiplier", &mul) &&
	    mul < 0.0f)
		pst_keys_fail(r, "is negative");
	if (!r->rc && p->scaling == PST_ROPE_SCALE_YARN && p->factor > 1.0f)
		p->attn_factor /= 1.0f + 0.1f * mul * logf(p->factor);
}

static void read_keys(struct pst_keys *r, struct pst_hparams *hp)
{
	pst_keys_f32(r, "attention.temperature_scale", &hp->temp_scale);
	hp->temp_len = hp->rope[0].ctx_orig;
	pst_keys_u32(r, "attention.temperature_length", 1, UINT32_MAX / 4,
		     &hp->temp_len);
	for (uint32_t i = 0; i < hp->n_layers; i++)
		hp->layer[i].q_temp = hp->temp_scale != 0.0f;
	read_yarn(r, &hp->rope[0]);
}

const struct pst_arch pst_arch_mistral3 = {
	.name = "mistral3",
	.rope = PST_ROPE_NORM,
	.experts = PST_EXPERTS_OPTIONAL,
	.ff_is_expert = true,
	.norm_topk = true,
	.reads = reads,
	.keys = read_keys,
};
