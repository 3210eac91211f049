// A DigitalTwin operator as one writes it with controller-runtime: the peer of `bench/run operator`.
//
// The same custom resource and the same calls as `twinops operator` makes for a new twin: the finalizer,
// a PUT of the thing that replaces none, the status. No policies, no adoption, no three-way removal.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/clientcmd"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	metrics "sigs.k8s.io/controller-runtime/pkg/metrics/server"
)

const finalizer = "bench.twinops.dev/ditto"

var group = schema.GroupVersion{Group: "twinops.dev", Version: "v1alpha1"}

// DigitalTwin is what this operator needs of the resource.
type DigitalTwin struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`
	Spec              struct {
		ThingID    string               `json:"thingId"`
		Attributes runtime.RawExtension `json:"attributes,omitempty"`
		Features   runtime.RawExtension `json:"features,omitempty"`
	} `json:"spec"`
	Status struct {
		ThingID            string             `json:"thingId,omitempty"`
		ObservedGeneration int64              `json:"observedGeneration,omitempty"`
		Conditions         []metav1.Condition `json:"conditions,omitempty"`
	} `json:"status,omitempty"`
}

// DeepCopyObject is what the cache hands out.
func (t *DigitalTwin) DeepCopyObject() runtime.Object {
	copied := *t
	t.ObjectMeta.DeepCopyInto(&copied.ObjectMeta)
	t.Spec.Attributes.DeepCopyInto(&copied.Spec.Attributes)
	t.Spec.Features.DeepCopyInto(&copied.Spec.Features)
	copied.Status.Conditions = append([]metav1.Condition(nil), t.Status.Conditions...)
	return &copied
}

// DigitalTwinList is a page of them.
type DigitalTwinList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []DigitalTwin `json:"items"`
}

// DeepCopyObject is what the cache hands out.
func (l *DigitalTwinList) DeepCopyObject() runtime.Object {
	copied := &DigitalTwinList{TypeMeta: l.TypeMeta, ListMeta: *l.ListMeta.DeepCopy()}
	for index := range l.Items {
		copied.Items = append(copied.Items, *l.Items[index].DeepCopyObject().(*DigitalTwin))
	}
	return copied
}

type reconciler struct {
	client.Client
	things string
	policy string
	user   string
	http   *http.Client
}

func (r *reconciler) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	twin := &DigitalTwin{}
	if err := r.Get(ctx, request.NamespacedName, twin); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	thingID := twin.Spec.ThingID
	if twin.GetDeletionTimestamp() != nil {
		if _, err := r.call(ctx, http.MethodDelete, thingID, nil); err != nil {
			return ctrl.Result{}, err
		}
		before := twin.DeepCopyObject().(*DigitalTwin)
		controllerutil.RemoveFinalizer(twin, finalizer)
		return ctrl.Result{}, r.Patch(ctx, twin, client.MergeFrom(before))
	}
	if !controllerutil.ContainsFinalizer(twin, finalizer) {
		before := twin.DeepCopyObject().(*DigitalTwin)
		controllerutil.AddFinalizer(twin, finalizer)
		if err := r.Patch(ctx, twin, client.MergeFrom(before)); err != nil {
			return ctrl.Result{}, err
		}
	}
	body := map[string]any{"policyId": r.policy, "attributes": twin.Spec.Attributes, "features": twin.Spec.Features}
	if _, err := r.call(ctx, http.MethodPut, thingID, body); err != nil {
		return ctrl.Result{}, err
	}
	return ctrl.Result{}, r.report(ctx, twin, thingID)
}

// The status in one patch, and only when it is not said yet.
func (r *reconciler) report(ctx context.Context, twin *DigitalTwin, thingID string) error {
	if twin.Status.ObservedGeneration == twin.Generation {
		return nil
	}
	before := twin.DeepCopyObject().(*DigitalTwin)
	twin.Status.ThingID = thingID
	twin.Status.ObservedGeneration = twin.Generation
	meta.SetStatusCondition(&twin.Status.Conditions, metav1.Condition{
		Type: "Ready", Status: metav1.ConditionTrue, Reason: "Applied", ObservedGeneration: twin.Generation,
	})
	return r.Status().Patch(ctx, twin, client.MergeFrom(before))
}

func (r *reconciler) call(ctx context.Context, method, thingID string, body any) (int, error) {
	var sent io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return 0, err
		}
		sent = bytes.NewReader(text)
	}
	request, err := http.NewRequestWithContext(ctx, method, r.things+url.PathEscape(thingID), sent)
	if err != nil {
		return 0, err
	}
	request.Header.Set("x-ditto-pre-authenticated", r.user)
	request.Header.Set("content-type", "application/json")
	if method == http.MethodPut {
		request.Header.Set("if-none-match", "*")
	}
	answer, err := r.http.Do(request)
	if err != nil {
		return 0, err
	}
	defer answer.Body.Close()
	if _, err := io.Copy(io.Discard, answer.Body); err != nil {
		return 0, err
	}
	there := answer.StatusCode == http.StatusNotFound || answer.StatusCode == http.StatusPreconditionFailed
	if answer.StatusCode >= 400 && !there {
		return answer.StatusCode, fmt.Errorf("%s %s: %s", method, thingID, answer.Status)
	}
	return answer.StatusCode, nil
}

func run() error {
	kubeconfig := flag.String("operator-kubeconfig", "", "the API server")
	ditto := flag.String("ditto-url", "", "Ditto")
	user := flag.String("user", "nginx:ditto", "the pre-authenticated subject")
	policy := flag.String("policy", "", "the policy of every thing")
	workers := flag.Int("workers", 64, "reconciles under way")
	flag.Parse()
	ctrl.SetLogger(logr.Discard())
	config, err := clientcmd.BuildConfigFromFlags("", *kubeconfig)
	if err != nil {
		return err
	}
	// client-go would hold the operator at 20 requests a second.
	config.QPS, config.Burst = -1, 0
	scheme := runtime.NewScheme()
	scheme.AddKnownTypes(group, &DigitalTwin{}, &DigitalTwinList{})
	metav1.AddToGroupVersion(scheme, group)
	manager, err := ctrl.NewManager(config, ctrl.Options{Scheme: scheme, Metrics: metrics.Options{BindAddress: "0"}})
	if err != nil {
		return err
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost = *workers
	r := &reconciler{
		Client: manager.GetClient(), things: *ditto + "/api/2/things/", policy: *policy, user: *user,
		http: &http.Client{Transport: transport, Timeout: 10 * time.Second},
	}
	options := controller.Options{MaxConcurrentReconciles: *workers}
	if err := ctrl.NewControllerManagedBy(manager).For(&DigitalTwin{}).WithOptions(options).Complete(r); err != nil {
		return err
	}
	return manager.Start(ctrl.SetupSignalHandler())
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
