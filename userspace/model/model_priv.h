/* SPDX-License-Identifier: MIT */
/*
 * Private to model/.
 */
#ifndef PST_MODEL_PRIV_H
#define PST_MODEL_PRIV_H

#include "model.h"

/** pst_model_add_ref() - remember a pointer to fill in once the trunk is read */
int pst_model_add_ref(struct pst_model *m, const struct pst_gguf_tensor *t,
		      uint64_t off_bytes, const void **dst);

/** pst_model_plan_trunk() - extents and bytes of the trunk, from the refs */
int pst_model_plan_trunk(struct pst_model *m, struct pst_diag *diag);

/** pst_model_bind() - fill layers, experts and refs from the tensor table */
int pst_model_bind(struct pst_model *m, const struct pst_kernels *k,
		   struct pst_diag *diag);

/**
 * pst_rope_table() - cos and sin of one position
 * @freqs: [n_rot / 2] divisors of theta, or NULL
 * @pos: position of the token
 * @cs: [n_rot], cs[2i] = cos, cs[2i + 1] = sin of pair i
 *
 * theta_i = pos * base^(-2i/n_rot) (Su et al., RoFormer); YaRN interpolation
 * after Peng et al. 2023, section 3.
 */
void pst_rope_table(const struct pst_rope_params *r, const float *freqs,
		    uint32_t pos, float *cs);

#endif
