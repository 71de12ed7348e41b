"""The kinds of objects that Cordboard uses, for lightkube."""

from typing import Final, Literal

from lightkube.generic_resource import GenericGlobalResource, GenericNamespacedResource
from lightkube.generic_resource import create_api_info as api

Kind = Literal["Job", "Pod", "Event", "Namespace", "Secret", "SelfSubjectAccessReview"]


class _Job(GenericNamespacedResource):
    _api_info = api("batch", "v1", "Job", "jobs")


class _Pod(GenericNamespacedResource):
    _api_info = api("", "v1", "Pod", "pods")


class _Event(GenericNamespacedResource):
    _api_info = api("", "v1", "Event", "events")


class _Namespace(GenericGlobalResource):
    _api_info = api("", "v1", "Namespace", "namespaces")


class _Secret(GenericNamespacedResource):
    _api_info = api("", "v1", "Secret", "secrets")


class _AccessReview(GenericGlobalResource):
    _api_info = api(
        "authorization.k8s.io", "v1", "SelfSubjectAccessReview", "selfsubjectaccessreviews"
    )


# Instead of lightkube's own classes, which drop the fields that their version does not know.
KINDS: Final[dict[Kind, type[GenericNamespacedResource] | type[GenericGlobalResource]]] = {
    "Job": _Job,
    "Pod": _Pod,
    "Event": _Event,
    "Namespace": _Namespace,
    "Secret": _Secret,
    "SelfSubjectAccessReview": _AccessReview,
}
