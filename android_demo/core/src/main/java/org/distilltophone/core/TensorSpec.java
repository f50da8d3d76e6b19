package org.distilltophone.core;

import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;

/** A tensor at the border of a model, as {@code bundle.json} describes it. */
public final class TensorSpec {
    public final String name;
    /** Batch first. */
    final int[] shape;
    /** "NHWC" or "NCHW"; of an output null. */
    public final String layout;
    /** "float32", "int8", "uint8" or "int16". */
    public final String dtype;
    /** Integers stand for {@code (q - zeroPoint) * scale}; of float32: 0. */
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
     * A description as it stands in {@code bundle.json} and in the jobs of distill-bench.
     *
     * @param input whether of an input, which has four axes and a layout
     * @throws BadFileException it contradicts itself
     */
    public static TensorSpec parse(String json, boolean input) throws BadFileException {
        Fields fields = Fields.parse(ByteBuffer.wrap(json.getBytes(StandardCharsets.UTF_8)), "tensor", "update distill-to-phone");
        return Manifest.tensor(fields, input ? 4 : 2, input ? fields.oneOf("layout", "NHWC", "NCHW") : null);
    }

    /** A copy of the shape, batch first. */
    public int[] shape() {
        return shape.clone();
    }

    /** Whether values are float32; else they are integers. */
    public boolean isFloat() {
        return dtype.equals("float32");
    }

    /** Of the whole tensor. */
    public int bytes() {
        long bytes = isFloat() ? 4 : dtype.equals("int16") ? 2 : 1;
        for (int side : shape) {
            bytes *= side;
        }
        return Math.toIntExact(bytes);
    }
}
