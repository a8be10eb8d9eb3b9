// SPDX-License-Identifier: MIT
/*
 * Kimi Linear and Kimi K3: three blocks of Kimi delta attention, then one of
 * latent attention that is not rotated.
 */
#include "arch_rows.h"

#define MAX_HEAD  1024
#define MAX_HEADS 1024

/* FLA gives queries and keys length one with an epsilon of its own. */
#define UNIT_EPS 1e-6f

static void read_delta(struct pst_keys *r, struct pst_hparams *hp)
{
	struct pst_delta_hp *p = &hp->delta;

	pst_keys_need_u32(r, "ssm.conv_kernel", 2, PST_K_MAX_TAPS, &p->taps);
	pst_keys_need_u32(r, "kda.head_dim", 1, MAX_HEAD, &p->hd_k);
	p->hd_v = p->hd_k;
	p->n_k = hp->layer[0].n_head;
	p->n_v = p->n_k;
	if (!r->rc && p->n_k > MAX_HEADS) {
		pst_keys_name(r, "attention.head_count");
		pst_keys_fail(r, "is too large");
	}
	p->gate_rank = p->hd_k;
	p->decay_rank = p->hd_k;
	p->unit_eps = UNIT_EPS;
}

/* Blocks without heads of keys are recurrent. */
static void read_kinds(struct pst_hparams *hp)
{
	for (uint32_t i = 0; i < hp->n_layers; i++) {
		struct pst_layer_hp *lh = &hp->layer[i];

		lh->mixer = lh->n_head_kv ? &pst_mixer_mla : &pst_mixer_kda;
		lh->rope = PST_ROPE_NONE;
	}
}

static void read_kimi_linear(struct pst_keys *r, struct pst_hparams *hp)
{
	pst_keys_mla_widths(r, hp);
	pst_keys_leading_dense(r, hp);
	read_delta(r, hp);
	read_kinds(hp);
}

static const char *const reads_kimi[] = { "attention.head_count_kv", NULL };

/* Fields that both rows share. */
/* clang-format off */
#define KIMI_BLOCKS					\
	.rope = PST_ROPE_NORM,				\
	PST_ROUTED_LIKE_V3,				\
	.choice_bias = PST_OPTIONAL,			\
	.norm_topk = true,				\
	.groups = true,					\
	.nextn = true,					\
	.reads = reads_kimi
/* clang-format on */

const struct pst_arch pst_arch_kimi_linear = {
	.name = "kimi-linear",
	KIMI_BLOCKS,
	.keys = read_kimi_linear,
};

/* Numbers without a default. */
static float need_f32(struct pst_keys *r, const char *name)
{
	float v = 0.0f;

	if (!pst_keys_f32(r, name, &v) && !r->rc)
		pst_keys_fail(r, "is missing");
	return v;
}

static float need_positive(struct pst_keys *r, const char *name)
{
	float v = need_f32(r, name);

	if (!r->rc && v <= 0.0f)
		pst_keys_fail(r, "is not positive");
	return v;
}

/* The gate is one matrix, the decay is bounded; experts are narrower, and
 * halves attend to earlier sums of the stream.
 */
static void read_kimi_k3(struct pst_keys *r, struct pst_hparams *hp)
{
	read_kimi_linear(r, hp);
	hp->delta.gate_rank = 0;
	hp->delta.unit_eps = hp->eps;
	hp->delta.decay_bound = need_f32(r, "kda.gate_lower_bound");
	if (!r->rc && hp->delta.decay_bound >= 0.0f)
		pst_keys_fail(r, "is not negative");
	hp->situ_beta = need_positive(r, "activation.situ_beta");
	hp->situ_linear_beta = need_positive(r, "activation.situ_linear_beta");
	pst_keys_need_u32(r, "expert_latent_length", 1, 1u << 20,
			  &hp->n_latent);
	pst_keys_need_u32(r, "attn_res.block_size", 1, PST_MAX_LAYERS,
			  &hp->sum_blocks);
}

const struct pst_arch pst_arch_kimi_k3 = {
	.name = "kimi-k3",
	KIMI_BLOCKS,
	.out_gate = PST_OPTIONAL,
	.glu = PST_GLU_SITU,
	.residual = &pst_residual_sums,
	.keys = read_kimi_k3,
};
