// Checks objects on standard input by the models of the projects that define their kinds: node models.mjs FOLDER
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const PLACES = {
  HTTPRoute: "gateway-api/gateway.networking.k8s.io/v1/HTTPRoute.js",
  PodMonitor: "prometheus-operator/monitoring.coreos.com/v1/PodMonitor.js",
  PrometheusRule: "prometheus-operator/monitoring.coreos.com/v1/PrometheusRule.js",
  ScaledObject: "keda/keda.sh/v1alpha1/ScaledObject.js",
};
const folder = process.argv[2];
const items = JSON.parse(readFileSync(0, "utf8"));
for (const item of items) {
  const place = `${folder}/node_modules/@kubernetes-models/${PLACES[item.kind]}`;
  const module = await import(pathToFileURL(place).href);
  new module[item.kind](item).validate();
}
console.log(items.length);
