// SPDX-License-Identifier: MIT
/*
 * The table of model families.  To add one that is made of the layer kinds
 * that exist: add a row, and a golden case to the tests.
 */
#include <string.h>

#include "model.h"

static const struct pst_arch archs[] = {
	{ .name = "llama",
	  .rope = PST_ROPE_NORM,
	  .experts = PST_EXPERTS_OPTIONAL,
	  .ff_is_expert = true,
	  .norm_topk = true },
	{ .name = "qwen2", .rope = PST_ROPE_NEOX, .qkv_bias = true },
	{ .name = "qwen3", .rope = PST_ROPE_NEOX, .qk_norm = PST_QK_NORM_HEAD },
	{ .name = "qwen3moe",
	  .rope = PST_ROPE_NEOX,
	  .qk_norm = PST_QK_NORM_HEAD,
	  .experts = PST_EXPERTS_ALWAYS,
	  .norm_topk = true },
	{ .name = "olmoe",
	  .rope = PST_ROPE_NEOX,
	  .qk_norm = PST_QK_NORM_FULL,
	  .experts = PST_EXPERTS_ALWAYS,
	  .ff_is_expert = true },
};

const struct pst_arch *pst_arch_find(const char *name, uint64_t len)
{
	for (uint32_t i = 0; i < PST_ARRAY_SIZE(archs); i++)
		if (strlen(archs[i].name) == len &&
		    !memcmp(archs[i].name, name, len))
			return &archs[i];
	return NULL;
}

const struct pst_arch *pst_arch_at(uint32_t i)
{
	return i < PST_ARRAY_SIZE(archs) ? &archs[i] : NULL;
}
