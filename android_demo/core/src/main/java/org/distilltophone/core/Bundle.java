package org.distilltophone.core;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Map;

/** A bundle and one of its variants, read and found consistent (docs/bundle.md). */
public final class Bundle {
    private static final int MAX_MANIFEST_BYTES = 64 << 20;
    private static final String AGAIN = "export it again, or copy the whole folder again";

    private final BundleSource source;
    private final Manifest manifest;
    private final Variant variant;

    private Bundle(BundleSource source, Manifest manifest, Variant variant) {
        this.source = source;
        this.manifest = manifest;
        this.variant = variant;
    }

    /**
     * Reads the description and chooses a variant. The content of a file is checked when it is read, so that an app may
     * carry only the files that it uses; {@link #checkAllFiles} checks them all.
     *
     * @param variantOrNull its name; null: "tflite-int8", or the first TFLite variant with int8 input, or the first TFLite
     *     variant
     * @throws BadFileException missing, damaged, of another schema version, or it contradicts itself; or no such variant
     */
    public static Bundle open(BundleSource source, String variantOrNull) throws IOException {
        ByteBuffer text = source.read("bundle.json");
        if (text.remaining() > MAX_MANIFEST_BYTES) {
            throw new BadFileException("bundle.json: " + text.remaining() + " bytes are too many for a description", AGAIN);
        }
        Manifest manifest = new Manifest(Fields.parse(text, "bundle.json", AGAIN));
        return new Bundle(source, manifest, choose(manifest, variantOrNull));
    }

    private static Variant choose(Manifest manifest, String wanted) throws BadFileException {
        Variant best = null;
        List<String> names = new ArrayList<String>();
        for (Variant one : manifest.variants) {
            names.add(one.name);
            if (one.name.equals(wanted == null ? "tflite-int8" : wanted)) {
                return one;
            }
            boolean betterType = best != null && best.input.isFloat() && one.input.dtype.equals("int8");
            if (one.format.equals("tflite") && (best == null || betterType)) {
                best = one;
            }
        }
        if (wanted == null && best != null) {
            return best;
        }
        throw new BadFileException("bundle.json: no variant " + (wanted == null ? "for TFLite" : "'" + wanted + "'"),
            "it has " + names);
    }

    /** For people. */
    public String name() {
        return manifest.name;
    }

    public Preprocessing preprocessing() {
        return manifest.preprocessing;
    }

    /** D: how many values an embedding has. */
    public int dimension() {
        return manifest.dimension;
    }

    /** The variant in use. */
    public Variant variant() {
        return variant;
    }

    /**
     * Where the bundle comes from, as flat facts: "created", "tool", "source.arch", "source.id", "licence.model" … Lists are
     * left out.
     */
    public Map<String, String> provenance() {
        return Collections.unmodifiableMap(manifest.provenance);
    }

    /** The content of the variant's model file, checked. Direct or mapped where the source gives such. */
    public ByteBuffer model() throws IOException {
        return read(variant.file);
    }

    /**
     * A file that the bundle lists, checked by size and SHA-256.
     *
     * @return little-endian
     */
    public ByteBuffer read(String name) throws IOException {
        Manifest.Listed listed = manifest.files.get(name);
        if (listed == null) {
            throw new BadFileException(name + ": not in bundle.json", AGAIN);
        }
        ByteBuffer content = source.read(name);
        if (content.remaining() != listed.bytes) {
            throw new BadFileException(name + ": " + content.remaining() + " bytes instead of " + listed.bytes, AGAIN);
        }
        if (!Sha256.of(content).equals(listed.sha256)) {
            throw new BadFileException(name + ": its content changed since the export (SHA-256 differs)", AGAIN);
        }
        return content.order(ByteOrder.LITTLE_ENDIAN);
    }

    /** Reads and checks every file that the bundle lists. */
    public void checkAllFiles() throws IOException {
        for (String name : manifest.files.keySet()) {
            read(name);
        }
    }

    /** Those of them that are there as files too. */
    public List<GoldenFile> goldenFiles() {
        return Collections.unmodifiableList(manifest.goldenFiles);
    }

    /** The golden images as pixels: RGB {@code [inputSize][inputSize][3]} each. */
    public byte[][] goldenPixels() throws IOException {
        ByteBuffer all = read(manifest.goldenPixels);
        int side = manifest.preprocessing.inputSize;
        byte[][] out = new byte[manifest.goldenCount][side * side * 3];
        for (byte[] one : out) {
            all.get(one);
        }
        return out;
    }

    /** The embeddings that the variant in use gave for them. */
    public float[][] goldenEmbeddings() throws IOException {
        return rows(variant.goldenFile);
    }

    private float[][] rows(String file) throws IOException {
        ByteBuffer all = read(file);
        float[][] out = new float[manifest.goldenCount][manifest.dimension];
        for (float[] row : out) {
            for (int d = 0; d < row.length; d++) {
                row[d] = all.getFloat();
            }
        }
        return out;
    }
}
