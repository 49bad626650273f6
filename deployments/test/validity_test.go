package test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	v1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	"k8s.io/kubernetes/pkg/api/pod"
	"k8s.io/kubernetes/pkg/api/service"
	"k8s.io/kubernetes/pkg/apis/apps"
	_ "k8s.io/kubernetes/pkg/apis/apps/install" // each tells the scheme its types, with their defaults
	appsvalidation "k8s.io/kubernetes/pkg/apis/apps/validation"
	"k8s.io/kubernetes/pkg/apis/autoscaling"
	_ "k8s.io/kubernetes/pkg/apis/autoscaling/install"
	autoscalingvalidation "k8s.io/kubernetes/pkg/apis/autoscaling/validation"
	"k8s.io/kubernetes/pkg/apis/core"
	_ "k8s.io/kubernetes/pkg/apis/core/install"
	corevalidation "k8s.io/kubernetes/pkg/apis/core/validation"
	"k8s.io/kubernetes/pkg/apis/networking"
	_ "k8s.io/kubernetes/pkg/apis/networking/install"
	networkingvalidation "k8s.io/kubernetes/pkg/apis/networking/validation"
	"k8s.io/kubernetes/pkg/apis/policy"
	_ "k8s.io/kubernetes/pkg/apis/policy/install"
	policyvalidation "k8s.io/kubernetes/pkg/apis/policy/validation"
	"k8s.io/pod-security-admission/api"
	podsecurity "k8s.io/pod-security-admission/policy"
)

// variants are values under which the chart makes all that it can make.
var variants = map[string]string{
	"least": least,
	"most":  most,
	"a password, a path, a load balancer": `
kling: {existingSecret: kling}
nats: {url: "nats://nats:4222", existingSecret: nats}
publicURL: https://example.com/bridge
ingress: {enabled: true}
service: {type: LoadBalancer}
autoscaling: {enabled: true, minReplicas: 2}
networkPolicy: {enabled: false}
`,
}

// TestChartIsValid has the API server's own code take the chart's objects in, as kubectl would have them taken in: decoded
// strictly, with its defaults filled in, converted and validated, without a warning, in a namespace that enforces the Pod
// Security level restricted. A ServiceMonitor is not the API server's: its type is checked elsewhere.
func TestChartIsValid(t *testing.T) {
	t.Parallel()
	for name, values := range variants {
		made, err := manifests(t, values)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range made {
			if strings.Contains(m.text, "\nkind: ServiceMonitor\n") {
				continue
			}
			if err := admit(t.Context(), m.text); err != nil {
				t.Errorf("%s: %s: %v", name, m.file, err)
			}
		}
	}
}

// TestInvalidChartIsRefused breaks one object at a time.
func TestInvalidChartIsRefused(t *testing.T) {
	t.Parallel()
	made, err := manifests(t, most)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ kind, old, broken, says string }{
		{"Deployment", "name: callbacks", "name: Call_Backs", "spec.template.spec.containers[0].ports[0].name"},
		{"Deployment", "maxSurge: 1", "maxSurges: 1", `unknown field "spec.strategy.rollingUpdate.maxSurges"`},
		{"Deployment", "matchLabels:\n      app.kubernetes.io/name: klingbridge", "matchLabels:\n      app.kubernetes.io/name: other", "spec.template.metadata.labels"},
		{"Deployment", "path: /readyz, port: admin", "path: /readyz", "startupProbe.httpGet.port"},
		{"Deployment", "runAsNonRoot: true", "runAsNonRoot: false", "runAsNonRoot"},
		{"Deployment", "runAsUser: 65532", "runAsUser: 0", "runAsUser=0"},
		{"Deployment", "drop: [ALL]", "drop: [KILL]", "unrestricted capabilities"},
		{"Deployment", "type: RuntimeDefault", "type: Unconfined", "seccompProfile"},
		{"Deployment", "- name: GOMEMLIMIT", "- {name: NATS_URL, value: nats://other}\n            - name: GOMEMLIMIT", "NATS_URL"},
		{"Service", "port: 80\n", "port: 0\n", "spec.ports[0].port"},
		{"ServiceAccount", "name: prod-klingbridge\n", "name: Prod\n", "metadata.name"},
		{"Ingress", "path: /callbacks/", "path: callbacks/", "spec.rules[0].http.paths[0].path"},
		{"NetworkPolicy", "port: 53", "port: 70000", "spec.egress[0].ports[0].port"},
		{"PodDisruptionBudget", "maxUnavailable: 1", "maxUnavailable: -1", "spec.maxUnavailable"},
		{"HorizontalPodAutoscaler", "maxReplicas: 10", "maxReplicas: 2", "spec.maxReplicas"},
	} {
		i := slices.IndexFunc(made, func(m manifest) bool {
			return strings.Contains(m.text, "\nkind: "+test.kind+"\n") && strings.Contains(m.text, test.old)
		})
		if i < 0 {
			t.Errorf("no %s has %q", test.kind, test.old)
			continue
		}
		err := admit(t.Context(), strings.Replace(made[i].text, test.old, test.broken, 1))
		if err == nil || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s with %q: %v, want %q", test.kind, test.broken, err, test.says)
		}
	}
}

// decoder refuses fields that are unknown or there twice.
var decoder = serializer.NewCodecFactory(legacyscheme.Scheme, serializer.EnableStrict).UniversalDeserializer()

// admit does with an object what the API server does before it stores one, and returns all that it finds.
func admit(ctx context.Context, text string) error {
	object, _, err := decoder.Decode([]byte(text), nil, nil)
	if err != nil {
		return err
	}
	named, err := meta.Accessor(object)
	if err != nil {
		return err
	}
	named.SetNamespace("video") // the request's path has it
	legacyscheme.Scheme.Default(object)
	internal, err := legacyscheme.Scheme.ConvertToVersion(object, runtime.InternalGroupVersioner)
	if err != nil {
		return err
	}
	// Some rules are written by hand, some are generated from the types.
	found, warnings := validate(ctx, internal)
	found = append(found, legacyscheme.Scheme.Validate(ctx, map[string]bool{"HPAScaleToZero": false}, object)...)
	var out []error
	for _, err := range found {
		out = append(out, err)
	}
	for _, warning := range warnings {
		out = append(out, errors.New("warning: "+warning))
	}
	if deployment, ok := object.(*v1.Deployment); ok {
		out = append(out, restricted(deployment))
	}
	return errors.Join(out...)
}

// validate calls for each type what the API server's strategy for it calls, with the same options.
func validate(ctx context.Context, object runtime.Object) (field.ErrorList, []string) {
	switch o := object.(type) {
	case *apps.Deployment:
		template := &o.Spec.Template
		found := appsvalidation.ValidateDeployment(o, pod.GetValidationOptionsFromPodTemplate(template, nil))
		return found, pod.GetWarningsForPodTemplate(ctx, field.NewPath("spec", "template"), template, nil)
	case *core.Service:
		if o.Spec.ClusterIP != "" {
			o.Spec.ClusterIPs = []string{o.Spec.ClusterIP} // filled in for clients that know one address only
		}
		return corevalidation.ValidateServiceCreate(o), service.GetWarningsForService(o, nil)
	case *core.ServiceAccount:
		return corevalidation.ValidateServiceAccount(o), nil
	case *networking.Ingress:
		return networkingvalidation.ValidateIngressCreate(o), nil
	case *networking.NetworkPolicy:
		return networkingvalidation.ValidateNetworkPolicy(o, networkingvalidation.ValidationOptionsForNetworking(o, nil)), nil
	case *policy.PodDisruptionBudget:
		return policyvalidation.ValidatePodDisruptionBudget(o, policyvalidation.PodDisruptionBudgetValidationOptions{}), nil
	case *autoscaling.HorizontalPodAutoscaler:
		return autoscalingvalidation.ValidateHorizontalPodAutoscaler(o, autoscalingvalidation.HorizontalPodAutoscalerSpecValidationOptions{
			MinReplicasLowerBound:           1,
			ScaleTargetRefValidationOptions: autoscalingvalidation.CrossVersionObjectReferenceValidationOptions{RequiredCoveredByDeclarative: true},
		}), nil
	}
	return field.ErrorList{field.InternalError(nil, fmt.Errorf("nobody validates a %T", object))}, nil
}

// restricted holds the pods of a deployment to the strictest Pod Security level, as its newest version has it.
func restricted(deployment *v1.Deployment) error {
	evaluator, err := podsecurity.NewEvaluator(podsecurity.DefaultChecks(), nil)
	if err != nil {
		return err
	}
	level := api.LevelVersion{Level: api.LevelRestricted, Version: api.LatestVersion()}
	template := deployment.Spec.Template
	result := podsecurity.AggregateCheckResults(evaluator.EvaluatePod(level, &template.ObjectMeta, &template.Spec))
	if result.Allowed {
		return nil
	}
	return fmt.Errorf("not restricted: %s", result.ForbiddenDetail())
}
