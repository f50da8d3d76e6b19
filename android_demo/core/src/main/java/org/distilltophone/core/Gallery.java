package org.distilltophone.core;

import java.io.Closeable;
import java.io.File;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Collections;
import java.util.Comparator;
import java.util.HashSet;
import java.util.List;
import java.util.Set;

/** A gallery file (docs/gallery.md): embeddings, ids and thumbnails, bound to the model that made them. */
public final class Gallery implements Closeable {
    static final byte[] MAGIC = {'D', 'T', 'P', 'G', 'A', 'L', 'R', 'Y'};
    static final int VERSION = 1;
    static final int ALIGNMENT = 64;
    static final int START = 16;
    private static final int MAX_HEADER = 1 << 20;
    private static final int MAX_DIMENSION = 65536;
    private static final int MAX_THUMBNAIL = 16 << 20;
    private static final int MAX_ID = 1 << 16;
    private static final String AGAIN = "make it again with distill-index, or copy it again";

    private static final class Section {
        final String name;
        final long offset;
        final long bytes;
        final String sha256;

        Section(String name, Fields fields) throws BadFileException {
            this.name = name;
            offset = fields.whole("offset", 0, Long.MAX_VALUE >> 1);
            bytes = fields.whole("bytes", 0, Long.MAX_VALUE >> 1);
            sha256 = fields.sha256("sha256");
        }
    }

    private final GalleryData data;
    private final String where;
    private final int count;
    private final int dimension;
    private final boolean isFloat;
    private final GalleryModel model;
    private final List<Section> sections = new ArrayList<Section>();
    private final ByteBuffer embeddings;
    private final ByteBuffer bits;
    private final ByteBuffer ids;
    private final ByteBuffer idOffsets;
    private final ByteBuffer thumbnailOffsets;

    private Gallery(GalleryData data, String where) throws IOException {
        this.data = data;
        this.where = where;
        if (data.size() < START) {
            throw bad("too short for a gallery");
        }
        ByteBuffer start = data.section(0, START);
        for (byte one : MAGIC) {
            if (start.get() != one) {
                throw bad("not a gallery");
            }
        }
        int version = start.getInt();
        if (version != VERSION) {
            throw bad("gallery version " + (version & 0xFFFFFFFFL) + ", this app knows " + VERSION);
        }
        int headerBytes = start.getInt();
        if (headerBytes < 2 || headerBytes > MAX_HEADER || START + headerBytes > data.size()) {
            throw bad("a header of " + (headerBytes & 0xFFFFFFFFL) + " bytes");
        }
        Fields header = Fields.parse(data.section(START, headerBytes), where, AGAIN);
        if (header.whole("schema_version", 0, Integer.MAX_VALUE) != 1) {
            throw bad("another schema version");
        }
        count = (int) header.whole("count", 0, Integer.MAX_VALUE - 8);
        dimension = (int) header.whole("dimension", 1, MAX_DIMENSION);
        isFloat = header.oneOf("dtype", "int8", "float32").equals("float32");
        double scale = header.number("scale");
        double right = isFloat ? 1 : Int8.SCALE;
        if (Math.abs(scale - right) > 1e-6 * right) {
            throw header.badField("scale", scale + " instead of " + right);
        }
        model = GalleryModel.read(header.child("model"));
        readSections(header.child("sections"), START + headerBytes);
        embeddings = required("embeddings", (long) count * dimension * (isFloat ? 4 : 1));
        bits = section("bits", (long) count * ((dimension + 63) / 64) * 8);
        idOffsets = required("id_offsets", (count + 1L) * 8);
        ids = required("ids", -1);
        ascending(idOffsets, find("ids").bytes, 1, MAX_ID, "id_offsets");
        for (int row = 0; row < count; row++) {
            if (!plain(ids, (int) idOffsets.getLong(row * 8), (int) idOffsets.getLong(row * 8 + 8))) {
                throw bad("the id of row " + row + " is no plain relative path");
            }
        }
        thumbnailOffsets = section("thumbnail_offsets", (count + 1L) * 8);
        if ((thumbnailOffsets == null) != (find("thumbnails") == null)) {
            throw bad("thumbnails without thumbnail_offsets, or the other way round");
        }
        if (thumbnailOffsets != null) {
            ascending(thumbnailOffsets, find("thumbnails").bytes, 0, MAX_THUMBNAIL, "thumbnail_offsets");
        }
    }

    /**
     * A gallery file, mapped.
     *
     * @throws BadFileException another format or version, or it contradicts itself
     */
    public static Gallery open(File file) throws IOException {
        GalleryData data = GalleryData.of(file);
        boolean done = false;
        try {
            Gallery gallery = new Gallery(data, file.toString());
            done = true;
            return gallery;
        } finally {
            if (!done) {
                data.close();
            }
        }
    }

    /** The same from memory: what lies between position and limit. */
    public static Gallery of(ByteBuffer whole) throws IOException {
        return new Gallery(GalleryData.of(whole), "gallery");
    }

    public int count() {
        return count;
    }

    /** D. */
    public int dimension() {
        return dimension;
    }

    public GalleryModel model() {
        return model;
    }

    /** Whether rows are float32 in the file. */
    public boolean isFloat() {
        return isFloat;
    }

    /** The id of a row: a relative path with '/', as a rule. */
    public String id(int row) {
        return new String(idBytes(row), StandardCharsets.UTF_8);
    }

    private byte[] idBytes(int row) {
        long from = idOffsets.getLong(check(row) * 8);
        byte[] out = new byte[(int) (idOffsets.getLong(row * 8 + 8) - from)];
        ByteBuffer view = ids.duplicate();
        view.position((int) from);
        view.get(out);
        return out;
    }

    /** A JPEG; null where the row has none. */
    public byte[] thumbnail(int row) throws IOException {
        check(row);
        if (thumbnailOffsets == null) {
            return null;
        }
        long from = thumbnailOffsets.getLong(row * 8);
        int bytes = (int) (thumbnailOffsets.getLong(row * 8 + 8) - from);
        return bytes == 0 ? null : data.piece(find("thumbnails").offset + from, bytes);
    }

    /**
     * All rows as int8, row after row: a view of the file with a position of its own. Rows of float32 are quantized.
     *
     * @throws IllegalArgumentException a float32 row holds NaN or infinity
     */
    public ByteBuffer rows() {
        if (!isFloat) {
            return embeddings.duplicate();
        }
        ByteBuffer out = ByteBuffer.allocate(Math.multiplyExact(count, dimension));
        FloatBuffer all = embeddings.duplicate().order(ByteOrder.LITTLE_ENDIAN).asFloatBuffer();
        float[] row = new float[dimension];
        byte[] quantized = new byte[dimension];
        for (int i = 0; i < count; i++) {
            all.get(row);
            Int8.quantize(row, quantized);
            out.put(quantized);
        }
        out.rewind();
        return out;
    }

    /**
     * Whether a bundle's variant may search here.
     *
     * @param otherVariants also allow another variant of the same network, and a query model that was trained for this
     *     gallery's space: same space, another model file
     * @throws BadFileException it may not
     */
    public void checkModel(Bundle bundle, boolean otherVariants) throws BadFileException {
        GalleryModel mine = GalleryModel.of(bundle);
        boolean same = mine.sha256.equals(model.sha256);
        boolean sameSpace = mine.sourceId.equals(model.sourceId)
            || mine.space != null && (mine.space.equals(model.space) || mine.space.equals(model.sourceId));
        if (!same && !(otherVariants && sameSpace)) {
            throw new BadFileException(where + ": made with another model (" + model.name + ", " + model.variant + ")",
                "index again with this bundle's " + mine.variant);
        }
        if (bundle.dimension() != dimension) {
            throw bad("rows of " + dimension + " values, the model gives " + bundle.dimension());
        }
    }

    /**
     * Checks what {@link #open} leaves out because it takes time: the SHA-256 of every section, and that no id stands twice.
     *
     * @throws BadFileException damaged
     */
    public void checkContent() throws IOException {
        byte[] scratch;
        for (Section section : sections) {
            java.security.MessageDigest digest = Sha256.digest();
            for (long at = 0; at < section.bytes; at += scratch.length) {
                scratch = data.piece(section.offset + at, (int) Math.min(1 << 20, section.bytes - at));
                digest.update(scratch);
            }
            if (!Sha256.hex(digest).equals(section.sha256)) {
                throw bad(section.name + " changed since it was written (SHA-256 differs)");
            }
        }
        Set<String> seen = new HashSet<String>();
        for (int row = 0; row < count; row++) {
            if (!seen.add(id(row))) {
                throw bad("id '" + id(row) + "' stands twice");
            }
        }
    }

    /** Sign bits: word w of row r is {@code bits.getLong((r * words + w) * 8)}; null where the file has none. */
    ByteBuffer bits() {
        return bits;
    }

    /** Lets go of the file. Buffers that are mapped stay until they are collected. */
    @Override
    public void close() throws IOException {
        data.close();
    }

    private void readSections(Fields fields, long first) throws BadFileException {
        for (String name : fields.raw().names()) { // those that this reader does not know, too
            sections.add(new Section(name, fields.child(name)));
        }
        List<Section> byOffset = new ArrayList<Section>(sections);
        Collections.sort(byOffset, new Comparator<Section>() {
            @Override
            public int compare(Section a, Section b) {
                int order = Long.compare(a.offset, b.offset);
                return order != 0 ? order : Long.compare(a.bytes, b.bytes);
            }
        });
        long end = first;
        for (Section one : byOffset) {
            if (one.offset % ALIGNMENT != 0) {
                throw bad(one.name + " starts at " + one.offset + ", which is no multiple of " + ALIGNMENT);
            }
            if (one.offset < end) {
                throw bad(one.name + " overlaps what stands before it");
            }
            end = one.offset + one.bytes;
            if (end > data.size()) {
                throw bad("cut off: " + one.name + " ends at " + end + ", the file at " + data.size());
            }
        }
    }

    private Section find(String name) {
        for (Section one : sections) {
            if (one.name.equals(name)) {
                return one;
            }
        }
        return null;
    }

    private ByteBuffer required(String name, long bytes) throws IOException {
        ByteBuffer found = section(name, bytes);
        if (found == null) {
            throw bad("no section '" + name + "'");
        }
        return found;
    }

    /** @param wanted its size, -1: any */
    private ByteBuffer section(String name, long wanted) throws IOException {
        Section one = find(name);
        if (one == null) {
            return null;
        }
        if (wanted >= 0 && one.bytes != wanted) {
            throw bad(name + ": " + one.bytes + " bytes instead of " + wanted);
        }
        if (one.bytes > Integer.MAX_VALUE - 8) {
            throw bad(name + ": " + one.bytes + " bytes are too many here");
        }
        return data.section(one.offset, (int) one.bytes);
    }

    private void ascending(ByteBuffer offsets, long end, int least, int most, String name) throws BadFileException {
        long before = offsets.getLong(0);
        boolean good = before == 0;
        for (int row = 1; row <= count && good; row++) {
            long next = offsets.getLong(row * 8);
            good = next >= before && next <= end && next - before >= least && next - before <= most;
            before = next;
        }
        if (!good || before != end) {
            throw bad(name + " do not ascend from 0 to " + end);
        }
    }

    /** Whether an id may be joined to a folder: no empty part, no "." or "..", no NUL. */
    static boolean plain(ByteBuffer text, int from, int to) {
        for (int at = from, start = from; at <= to; at++) {
            int value = at == to ? '/' : text.get(at);
            if (value == 0) {
                return false;
            }
            if (value == '/') {
                int length = at - start;
                boolean dots = length > 0 && length <= 2 && text.get(start) == '.' && (length < 2 || text.get(start + 1) == '.');
                if (length == 0 || dots) {
                    return false;
                }
                start = at + 1;
            }
        }
        return true;
    }

    private int check(int row) {
        if (row < 0 || row >= count) {
            throw new IndexOutOfBoundsException("row " + row + " of " + count);
        }
        return row;
    }

    private BadFileException bad(String what) {
        return new BadFileException(where + ": " + what, AGAIN);
    }
}
