/* SPDX-License-Identifier: MIT */
/*
 * The rows of the families, for the list in arch.c: one line per family, in
 * the order of that list.
 */
#ifndef PST_ARCH_ROWS_H
#define PST_ARCH_ROWS_H

#include "model_priv.h"

/* The routing of DeepSeek-V3, which many took over: experts in most blocks,
 * chosen by the sigmoid of their logits, shared ones beside them.
 */
/* clang-format off */
#define PST_ROUTED_LIKE_V3				\
	.experts = PST_EXPERTS_ALWAYS,			\
	.gating = PST_GATING_SIGMOID,			\
	.gatings = 1 << PST_GATING_SOFTMAX,		\
	.shared_expert = true
/* clang-format on */

extern const struct pst_arch pst_arch_deepseek2;
extern const struct pst_arch pst_arch_deepseek32;
extern const struct pst_arch pst_arch_deepseek4;
extern const struct pst_arch pst_arch_glm_dsa;
extern const struct pst_arch pst_arch_llama;
extern const struct pst_arch pst_arch_qwen2;
extern const struct pst_arch pst_arch_qwen3;
extern const struct pst_arch pst_arch_qwen3moe;
extern const struct pst_arch pst_arch_olmoe;
extern const struct pst_arch pst_arch_gpt_oss;
extern const struct pst_arch pst_arch_qwen2moe;
extern const struct pst_arch pst_arch_glm4moe;
extern const struct pst_arch pst_arch_minimax_m2;
extern const struct pst_arch pst_arch_minimax_m3;
extern const struct pst_arch pst_arch_granite;
extern const struct pst_arch pst_arch_granitemoe;
extern const struct pst_arch pst_arch_ernie45_moe;
extern const struct pst_arch pst_arch_hunyuan_moe;
extern const struct pst_arch pst_arch_ernie45;
extern const struct pst_arch pst_arch_hunyuan_dense;
extern const struct pst_arch pst_arch_dots1;
extern const struct pst_arch pst_arch_bailingmoe2;
extern const struct pst_arch pst_arch_llama4;
extern const struct pst_arch pst_arch_phi3;
extern const struct pst_arch pst_arch_phimoe;
extern const struct pst_arch pst_arch_mistral3;
extern const struct pst_arch pst_arch_smollm3;
extern const struct pst_arch pst_arch_gemma3;
extern const struct pst_arch pst_arch_gemma4;
extern const struct pst_arch pst_arch_qwen3next;
extern const struct pst_arch pst_arch_qwen35;
extern const struct pst_arch pst_arch_qwen35moe;
extern const struct pst_arch pst_arch_kimi_linear;
extern const struct pst_arch pst_arch_bert;
extern const struct pst_arch pst_arch_nomic_bert;
extern const struct pst_arch pst_arch_kimi_k3;

#endif
