// SPDX-License-Identifier: MIT
/*
 * DeepSeek V2 to V3.2 and what shares their blocks (Kimi K2, GLM-4.7-Flash,
 * Mistral Large 3, GLM-5): latent attention, leading dense blocks, shared
 * experts; from V3.2 on with an indexer.
 */
#include <math.h>

#include "arch_rows.h"

#define MAX_RANK (1u << 14)
#define MAX_HEAD 4096

/* GLM-4.7-Flash was published without a gating: it has this many tokens. */
#define GLM_FLASH_VOCAB 154880

/* YaRN's correction of magnitude: factor 1 + mul * log(factor). */
static float magnitude(const struct pst_rope_params *p, float mul)
{
	return 1.0f + mul * logf(p->factor);
}

/*
 * yarn_log_multiplier is a tenth of mscale_all_dim.  The scores are corrected
 * by the square of that magnitude; the rotated part is divided by it, and
 * multiplied by the plain one: by nothing in V2, which has both the same.
 */
static void read_yarn(struct pst_keys *r, struct pst_hparams *hp,
		      bool same_mscale)
{
	struct pst_rope_params *p = &hp->rope[0];
	float a = p->attn_factor, mul = 0.0f;

	pst_keys_f32(r, "rope.scaling.yarn_log_multiplier", &mul);
	if (r->rc)
		return;
	if (mul < 0.0f) {
		pst_keys_fail(r, "is negative");
		return;
	}
	if (p->scaling == PST_ROPE_SCALE_YARN && p->ext_factor != 0.0f) {
		if (mul == 0.0f)
			a *= magnitude(p, 0.1f);
		else if (same_mscale)
			p->attn_factor /= magnitude(p, 0.1f);
		else
			p->attn_factor /= magnitude(p, mul);
	}
	a *= magnitude(p, mul);
	hp->attn_scale *= a * a;
}

static void read_temperature(struct pst_keys *r, struct pst_mla_hp *p)
{
	if (!pst_keys_f32(r, "attention.temperature_scale", &p->temp_scale) ||
	    p->temp_scale == 0.0f)
		return;
	pst_keys_need_u32(r, "attention.temperature_length", 1, UINT32_MAX / 2,
			  &p->temp_len);
}

/* Files of the older layout have no keys for unpacked heads. */
void pst_keys_mla_widths(struct pst_keys *r, struct pst_hparams *hp)
{
	struct pst_mla_hp *p = &hp->mla;
	uint32_t hd = hp->layer[0].hd_k;

	p->hd_v = hp->layer[0].hd_v;
	pst_keys_u32(r, "attention.q_lora_rank", 0, MAX_RANK, &p->q_rank);
	pst_keys_need_u32(r, "attention.kv_lora_rank", 1, MAX_RANK,
			  &p->kv_rank);
	pst_keys_u32(r, "attention.key_length_mla", 1, MAX_HEAD, &hd);
	pst_keys_u32(r, "attention.value_length_mla", 1, MAX_HEAD, &p->hd_v);
	pst_keys_need_u32(r, "rope.dimension_count", 2, MAX_HEAD, &p->hd_rope);
	if (!r->rc && p->hd_rope >= hd)
		pst_keys_fail(r, "leaves nothing of a key unrotated");
	if (r->rc)
		return;
	p->hd_nope = hd - p->hd_rope;
	hp->attn_scale = 0.0f;
	pst_keys_f32(r, "attention.scale", &hp->attn_scale);
	if (hp->attn_scale == 0.0f)
		hp->attn_scale = 1.0f / sqrtf((float)hd);
}

static void read_mla(struct pst_keys *r, struct pst_hparams *hp,
		     bool same_mscale)
{
	pst_keys_mla_widths(r, hp);
	read_yarn(r, hp, same_mscale);
	pst_keys_leading_dense(r, hp);
	for (uint32_t i = 0; i < hp->n_layers; i++)
		hp->layer[i].mixer = &pst_mixer_mla;
}

static void read_deepseek2(struct pst_keys *r, struct pst_hparams *hp)
{
	uint32_t gating = 0;

	read_mla(r, hp, true);
	read_temperature(r, &hp->mla);
	pst_keys_u32(r, "expert_gating_func", 0, 16, &gating);
	if (!gating && (hp->n_layers == 47 || hp->n_layers == 48) &&
	    hp->n_vocab == GLM_FLASH_VOCAB)
		hp->router.gating = PST_GATING_SIGMOID;
}

static const char *const reads_deepseek2[] = {
	"rope.scaling.yarn_log_multiplier", "attention.temperature_scale", NULL
};

const struct pst_arch pst_arch_deepseek2 = {
	.name = "deepseek2",
	.rope = PST_ROPE_NORM,
	.experts = PST_EXPERTS_ALWAYS,
	.gatings = 1 << PST_GATING_SIGMOID,
	.choice_bias = PST_OPTIONAL,
	.shared_expert = true,
	.groups = true,
	.nextn = true,
	.reads = reads_deepseek2,
	.keys = read_deepseek2,
};

static void read_indexer(struct pst_keys *r, struct pst_hparams *hp)
{
	struct pst_mla_hp *p = &hp->mla;

	if (!r->rc && !p->q_rank) {
		pst_keys_name(r, "attention.q_lora_rank");
		pst_keys_fail(r, "is missing or zero");
	}
	pst_keys_need_u32(r, "attention.indexer.head_count", 1, 1024,
			  &p->index_heads);
	pst_keys_need_u32(r, "attention.indexer.key_length", 1, MAX_HEAD,
			  &p->index_hd);
	if (!r->rc && p->index_hd < p->hd_rope)
		pst_keys_fail(r, "is less than rope.dimension_count");
	else if (!r->rc && p->index_hd % 64)
		pst_keys_unsupported(r, "is no multiple of 64: not supported");
	pst_keys_need_u32(r, "attention.indexer.top_k", 1, 1u << 20,
			  &p->index_top_k);
}

static void read_deepseek32(struct pst_keys *r, struct pst_hparams *hp)
{
	read_mla(r, hp, false);
	read_indexer(r, hp);
	hp->mla.index_rope = PST_ROPE_NEOX;
}

static const char *const reads_deepseek32[] = {
	"rope.scaling.yarn_log_multiplier", NULL
};

/* What the rows with an indexer have in common. */
/* clang-format off */
#define INDEXED_ROW			\
	.rope = PST_ROPE_NORM,		\
	PST_ROUTED_LIKE_V3,		\
	.choice_bias = PST_OPTIONAL,	\
	.groups = true,			\
	.nextn = true,			\
	.reads = reads_deepseek32
/* clang-format on */

const struct pst_arch pst_arch_deepseek32 = {
	.name = "deepseek32",
	INDEXED_ROW,
	.keys = read_deepseek32,
};

/* The array may leave the prediction blocks out.  Without it, models of a
 * million positions have an indexer in the first three blocks and then in every
 * fourth; the others in all.
 */
static void read_index_types(struct pst_keys *r, struct pst_hparams *hp)
{
	const struct pst_gguf_kv *kv = pst_gguf_find(
		r->g, pst_keys_name(r, "attention.indexer.types"));
	uint32_t own[PST_MAX_LAYERS];

	if (kv && kv->type == PST_GGUF_ARRAY && kv->count == hp->n_layers)
		r->n_blocks = hp->n_layers;
	if (!pst_keys_flags(r, "attention.indexer.types", own))
		for (uint32_t i = 0; i < hp->n_layers; i++)
			own[i] = hp->n_ctx_train < 1048576 || i < 2 ||
				 i % 4 == 2;
	if (!r->rc && !own[0])
		pst_keys_fail(r, "gives the first block no indexer");
	for (uint32_t i = 0; i < hp->n_layers; i++)
		hp->mla.index_reused[i] = !own[i];
}

static void read_glm_dsa(struct pst_keys *r, struct pst_hparams *hp)
{
	read_mla(r, hp, false);
	read_indexer(r, hp);
	read_index_types(r, hp);
	hp->mla.index_rope = PST_ROPE_NORM;
}

const struct pst_arch pst_arch_glm_dsa = {
	.name = "glm-dsa",
	INDEXED_ROW,
	.keys = read_glm_dsa,
};
