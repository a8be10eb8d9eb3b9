// SPDX-License-Identifier: MIT
/*
 * The kinds of gated unit, each brought to one of the kernels that there are:
 * silu(z) * u and sigmoid(z) * u.
 */
#include <math.h>

#include "fwd_priv.h"

/* gpt-oss: sigmoid(alpha g) g (u + 1), g cut from above and u on both sides.
 * With z = alpha g that is silu(z) * (u + 1) / alpha.
 */
#define OAI_ALPHA 1.702f
#define OAI_LIMIT 7.0f

static void swiglu_oai(const struct pst_kernels *k, float *h, float *u,
		       uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		float g = fminf(h[i], OAI_LIMIT);
		float v = fmaxf(fminf(u[i], OAI_LIMIT), -OAI_LIMIT);

		h[i] = OAI_ALPHA * g;
		u[i] = (v + 1.0f) / OAI_ALPHA;
	}
	k->swiglu(h, h, u, n);
}

/* Gelu in its tanh form, g sigmoid(w) with w = 2 sqrt(2 / pi) (g + c g^3):
 * silu(w) g / w, and w / g is never less than its factor.
 */
#define GELU_2_SQRT_2_PI 1.5957691216057308f
#define GELU_CUBE	 0.044715f

static void geglu(const struct pst_kernels *k, float *h, float *u, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		float r = GELU_2_SQRT_2_PI * (1.0f + GELU_CUBE * h[i] * h[i]);

		h[i] *= r;
		u[i] /= r;
	}
	k->swiglu(h, h, u, n);
}

/* Kimi K3: both sides are bounded, smoothly: b tanh(g / b) sigmoid(g) times
 * l tanh(u / l).
 */
static void situ(const struct pst_fwd *f, float *h, float *u, uint32_t n)
{
	float b = f->m->hp.situ_beta, l = f->m->hp.situ_linear_beta;

	for (uint32_t i = 0; i < n; i++)
		u[i] = b * tanhf(h[i] / b) * l * tanhf(u[i] / l);
	f->k->gate(h, h, u, n);
}

static void cut(float *h, float *u, uint32_t n, float limit)
{
	for (uint32_t i = 0; i < n; i++) {
		h[i] = fminf(h[i], limit);
		u[i] = fmaxf(fminf(u[i], limit), -limit);
	}
}

void pst_glu(const struct pst_fwd *f, float *h, float *u, uint32_t n,
	     float limit)
{
	if (limit > 0.0f)
		cut(h, u, n, limit);
	switch (f->m->hp.glu) {
	case PST_GLU_SWIGLU:
		f->k->swiglu(h, h, u, n);
		break;
	case PST_GLU_SWIGLU_OAI:
		swiglu_oai(f->k, h, u, n);
		break;
	case PST_GLU_GELU:
		for (uint32_t i = 0; i < n; i++)
			u[i] = 1.0f;
		geglu(f->k, h, u, n);
		break;
	case PST_GLU_GEGLU:
		geglu(f->k, h, u, n);
		break;
	case PST_GLU_SITU:
		situ(f, h, u, n);
		break;
	}
}
