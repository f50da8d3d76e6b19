package org.distilltophone.runner;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.Locale;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.distilltophone.core.BadFileException;

/** A NumPy file of one array: uint8, int8 or float32, little-endian, C order. */
final class Npy {
    private static final byte[] MAGIC = {(byte) 0x93, 'N', 'U', 'M', 'P', 'Y'};
    private static final int ALIGNMENT = 64;
    private static final Pattern DESCR = Pattern.compile("'descr':\\s*'([|<])(u1|i1|f4)'");
    private static final Pattern SHAPE = Pattern.compile("'shape':\\s*\\(([0-9, ]*)\\)");

    final String type;
    final int[] shape;
    /** The values, little-endian, from position 0 to limit. */
    final ByteBuffer values;

    private Npy(String type, int[] shape, ByteBuffer values) {
        this.type = type;
        this.shape = shape;
        this.values = values;
    }

    /** @throws BadFileException another format, type or order, or a truncated file */
    static Npy read(ByteBuffer file) throws IOException {
        ByteBuffer in = file.duplicate().order(ByteOrder.LITTLE_ENDIAN);
        if (in.remaining() < 12) {
            throw bad("too short");
        }
        for (byte one : MAGIC) {
            if (in.get() != one) {
                throw bad("no magic");
            }
        }
        int major = in.get();
        in.get();
        int length = major == 1 ? in.getShort() & 0xFFFF : in.getInt();
        if (length < 0 || length > in.remaining()) {
            throw bad("truncated");
        }
        byte[] text = new byte[length];
        in.get(text);
        String header = new String(text, StandardCharsets.ISO_8859_1);
        Matcher descr = DESCR.matcher(header);
        Matcher sides = SHAPE.matcher(header);
        if (!descr.find() || !sides.find() || !header.contains("'fortran_order': False")) {
            throw bad(header.trim());
        }
        String[] parts = sides.group(1).trim().isEmpty() ? new String[0] : sides.group(1).trim().split("\\s*,\\s*");
        int[] shape = new int[parts.length];
        long size = descr.group(2).equals("f4") ? 4 : 1;
        for (int i = 0; i < parts.length; i++) {
            if (parts[i].length() > 9) {
                throw bad(header.trim());
            }
            shape[i] = Integer.parseInt(parts[i]);
            size *= shape[i];
            if (size > in.remaining()) {
                throw bad("truncated");
            }
        }
        ByteBuffer values = in.slice().order(ByteOrder.LITTLE_ENDIAN);
        values.limit((int) size);
        return new Npy(descr.group(2), shape, values);
    }

    /** Returns a file of float32 rows, as numpy.save writes it. */
    static byte[] write(float[][] rows, int dimension) {
        String header = String.format(Locale.ROOT, "{'descr': '<f4', 'fortran_order': False, 'shape': (%d, %d), }", rows.length, dimension);
        int start = (10 + header.length() + 1 + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
        ByteBuffer out = ByteBuffer.allocate(start + rows.length * dimension * 4).order(ByteOrder.LITTLE_ENDIAN);
        byte[] text = new byte[start - 10];
        Arrays.fill(text, (byte) ' ');
        System.arraycopy(header.getBytes(StandardCharsets.US_ASCII), 0, text, 0, header.length());
        text[text.length - 1] = '\n';
        out.put(MAGIC).put((byte) 1).put((byte) 0).putShort((short) text.length).put(text);
        for (float[] row : rows) {
            for (float value : row) {
                out.putFloat(value);
            }
        }
        return out.array();
    }

    private static BadFileException bad(String what) {
        return new BadFileException("not a supported NumPy array: " + what, "update distill-to-phone");
    }
}
