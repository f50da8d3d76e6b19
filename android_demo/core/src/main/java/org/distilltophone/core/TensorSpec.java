package org.distilltophone.core;

import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;

/** Input or output tensor of a model, as described in {@code bundle.json}. */
public final class TensorSpec {
    public final String name;
    /** Batch dimension first. */
    final int[] shape;
    /** "NHWC" or "NCHW"; null for an output. */
    public final String layout;
    /** "float32", "int8", "uint8" or "int16". */
    public final String dtype;
    /** An integer q represents {@code (q - zeroPoint) * scale}; 0 for float32. */
    public final double scale;
    public final int zeroPoint;

    TensorSpec(String name, int[] shape, String layout, String dtype, double scale, int zeroPoint) {
        this.name = name;
        this.shape = shape;
        this.layout = layout;
        this.dtype = dtype;
        this.scale = scale;
        this.zeroPoint = zeroPoint;
    }

    /**
     * Reads a tensor description of {@code bundle.json} or of a distill-bench job.
     *
     * @param input whether the tensor is an input, which has four axes and a layout
     * @throws BadFileException the description is inconsistent
     */
    public static TensorSpec parse(String json, boolean input) throws BadFileException {
        Fields fields = Fields.parse(ByteBuffer.wrap(json.getBytes(StandardCharsets.UTF_8)), "tensor", "update distill-to-phone");
        return Manifest.tensor(fields, input ? 4 : 2, input ? fields.oneOf("layout", "NHWC", "NCHW") : null);
    }

    /** Returns a copy of the shape, batch dimension first. */
    public int[] shape() {
        return shape.clone();
    }

    /** Returns whether the values are float32; otherwise they are integers. */
    public boolean isFloat() {
        return dtype.equals("float32");
    }

    /** Returns the size of the whole tensor in bytes. */
    public int bytes() {
        long bytes = isFloat() ? 4 : dtype.equals("int16") ? 2 : 1;
        for (int side : shape) {
            bytes *= side;
        }
        return Math.toIntExact(bytes);
    }
}
