// SPDX-License-Identifier: MIT
/*
 * The list of model families, one line each; a row is in arch_<family>.c.  How
 * to add one: Documentation/adding-a-model.rst.
 */
#include <string.h>

#include "arch_rows.h"

/* One to a line. */
/* clang-format off */
static const struct pst_arch *const archs[] = {
	&pst_arch_deepseek2,
	&pst_arch_deepseek32,
	&pst_arch_deepseek4,
	&pst_arch_glm_dsa,
	&pst_arch_llama,
	&pst_arch_qwen2,
	&pst_arch_qwen3,
	&pst_arch_qwen3moe,
	&pst_arch_olmoe,
	&pst_arch_gpt_oss,
	&pst_arch_qwen2moe,
	&pst_arch_glm4moe,
	&pst_arch_minimax_m2,
	&pst_arch_minimax_m3,
	&pst_arch_granite,
	&pst_arch_granitemoe,
	&pst_arch_ernie45_moe,
	&pst_arch_hunyuan_moe,
	&pst_arch_ernie45,
	&pst_arch_hunyuan_dense,
	&pst_arch_dots1,
	&pst_arch_bailingmoe2,
	&pst_arch_llama4,
	&pst_arch_phi3,
	&pst_arch_phimoe,
	&pst_arch_mistral3,
	&pst_arch_smollm3,
	&pst_arch_gemma3,
	&pst_arch_gemma4,
	&pst_arch_qwen3next,
	&pst_arch_qwen35,
	&pst_arch_qwen35moe,
	&pst_arch_kimi_linear,
	&pst_arch_bert,
	&pst_arch_nomic_bert,
	&pst_arch_kimi_k3,
};
/* clang-format on */

const struct pst_arch *pst_arch_find(const char *name, uint64_t len)
{
	for (uint32_t i = 0; i < PST_ARRAY_SIZE(archs); i++)
		if (strlen(archs[i]->name) == len &&
		    !memcmp(archs[i]->name, name, len))
			return archs[i];
	return NULL;
}

const struct pst_arch *pst_arch_at(uint32_t i)
{
	return i < PST_ARRAY_SIZE(archs) ? archs[i] : NULL;
}

const char *pst_arch_name(const struct pst_arch *arch)
{
	return arch->name;
}

const char *pst_mixer_name(const struct pst_mixer *mixer)
{
	return mixer->name;
}

bool pst_arch_reads(const struct pst_arch *arch, const char *key)
{
	for (const char *const *p = arch->reads; p && *p; p++)
		if (!strcmp(*p, key))
			return true;
	return false;
}
