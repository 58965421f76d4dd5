// Shows what our nodes have to say (the index report, the hits, what a file tells) on the node itself.
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

app.registerExtension({
  name: "DiffusionToolkit.NodeText",
  beforeRegisterNodeDef(nodeType, nodeData) {
    if (!nodeData.name.startsWith("DiffusionToolkit")) return;
    const before = nodeType.prototype.onExecuted;
    nodeType.prototype.onExecuted = function (output) {
      before?.apply(this, arguments);
      if (output?.text) showText(this, output.text.join("\n\n"));
    };
  },
});
