// Shows what our nodes have to say (the index report, the hits, what a file tells) on the node itself.
import { api } from "../../../scripts/api.js";
import { app } from "../../../scripts/app.js";
import { ComfyWidgets } from "../../../scripts/widgets.js";

const WIDGET = "diffusion_toolkit_text";
const LINE = 14; // height of a line of text on a node, in canvas units
const MOST_LINES = 12; // longer texts scroll

function showText(node, text) {
  let widget = node.widgets?.find((candidate) => candidate.name === WIDGET);
  if (!widget) {
    widget = ComfyWidgets.STRING(node, WIDGET, ["STRING", { multiline: true }], app).widget;
    widget.serialize = false; // the text belongs to a run, not to the workflow file
    widget.options.serialize = false;
    widget.options.getMinHeight = () => LINE * (1 + Math.min(MOST_LINES, String(widget.value ?? "").split("\n").length * 1.5));
    if (widget.inputEl) {
      widget.inputEl.readOnly = true;
      widget.inputEl.style.opacity = 0.75;
    }
  }
  widget.value = text;
  const wanted = node.computeSize();
  node.setSize([Math.max(node.size[0], wanted[0]), Math.max(node.size[1], wanted[1])]);
  app.graph.setDirtyCanvas(true, true);
}

function* nodesOf(graph) {
  for (const node of graph?.nodes ?? []) {
    yield node;
    if (node.subgraph) yield* nodesOf(node.subgraph);
  }
}

// A watch's run is ComfyUI's own, of no open workflow: its news is for each Index Folder that is set to what it watches.
function showWatch({ detail: { text, ...place } }) {
  for (const node of nodesOf(app.rootGraph ?? app.graph)) {
    const value = (name) => node.widgets?.find((widget) => widget.name === name)?.value;
    if (node.comfyClass !== "DiffusionToolkitIndexFolder" || !value("watch")) continue;
    if (!Object.keys(place).every((name) => value(name) === place[name])) continue;
    showText(node, text);
    const line = node.widgets.find((widget) => widget.name === "$$node-text-preview"); // ComfyUI's own, which would go on telling of the run before
    if (line) line.value = text.split("\n")[0];
  }
}

app.registerExtension({
  name: "DiffusionToolkit.NodeText",
  setup: () => api.addEventListener("diffusion_toolkit.watch", showWatch),
  beforeRegisterNodeDef(nodeType, nodeData) {
    if (!nodeData.name.startsWith("DiffusionToolkit")) return;
    const before = nodeType.prototype.onExecuted;
    nodeType.prototype.onExecuted = function (output) {
      before?.apply(this, arguments);
      if (output?.text) showText(this, output.text.join("\n\n"));
    };
  },
});
